//! What instances under test have around them: their configuration, a guest, a provider.

use serde_json::Value;
use vreserve_model::Request;

use super::guest::{Guest, PacketGuest};
use crate::InterfaceInfo;

/// How a provider behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// As it should.
    Answers,
    /// It takes requests and answers none.
    Hangs,
    /// Nobody is there.
    Gone,
}

/// What surrounds the instances under test. Only `config` is needed; what the others do not give skips the cases
/// that want it, for the reason that they say.
pub trait Surroundings: Send + Sync + 'static {
    /// The configuration of instance `number`, from 1. Instances of different numbers are open at the same time;
    /// one of a number is opened again when it has been closed.
    ///
    /// # Errors
    /// Why there is none.
    fn config(&self, number: u32) -> Result<Value, String>;

    /// Whether instance `number` must open. If not, its failure skips the cases that need it.
    fn must_open(&self, number: u32) -> bool {
        let _ = number;
        true
    }

    /// Runs `open` where instance `number` is to be opened, such as on a thread in its network namespace.
    ///
    /// # Errors
    /// Why it is not to be opened here.
    fn open_in(&self, number: u32, open: &mut (dyn FnMut() + Send)) -> Result<(), String> {
        let _ = number;
        open();
        Ok(())
    }

    /// A configuration whose instance panics when it is first called.
    fn panicking(&self) -> Option<Value> {
        None
    }

    /// Capture: the guest on the interface of instance `number`.
    ///
    /// # Errors
    /// Why there is none.
    fn guest(&self, number: u32, interface: &InterfaceInfo) -> Result<Box<dyn Guest>, String> {
        let _ = number;
        PacketGuest::on(&interface.interface).map(|guest| Box::new(guest) as Box<dyn Guest>)
    }

    /// Capture: takes the interface of instance `number` away.
    ///
    /// # Errors
    /// Why it cannot be done.
    fn remove_interface(&self, number: u32, interface: &InterfaceInfo) -> Result<(), String> {
        let _ = number;
        Err(format!("nobody can take interface {} away here", interface.interface))
    }

    /// Reserve: what the provider can grant, also while it has granted the requests of all lower numbers. The kit
    /// replaces key and owner.
    ///
    /// # Errors
    /// Why there is no such request.
    fn request(&self, number: u32) -> Result<Request, String> {
        Err(format!("it is not known what to ask the provider for ({number})"))
    }

    /// Reserve: how many reservations the provider holds, by its own books.
    ///
    /// # Errors
    /// Why nobody can say.
    fn held(&self) -> Result<usize, String> {
        Err("the provider's own books cannot be read here".to_owned())
    }

    /// Reserve: makes the provider behave so from now on.
    ///
    /// # Errors
    /// Why it cannot be done.
    fn set_provider(&self, provider: Provider) -> Result<(), String> {
        Err(format!("nobody can tell the provider how to behave here ({provider:?})"))
    }
}

/// Surroundings of nothing but a configuration, in whose texts `{n}` stands for the number of the instance.
#[derive(Clone, Debug)]
pub struct Numbered(pub Value);

impl Surroundings for Numbered {
    fn config(&self, number: u32) -> Result<Value, String> {
        Ok(numbered(&self.0, number))
    }
}

fn numbered(value: &Value, number: u32) -> Value {
    match value {
        Value::String(text) => text.replace("{n}", &number.to_string()).into(),
        Value::Array(elements) => elements.iter().map(|element| numbered(element, number)).collect(),
        Value::Object(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.clone(), numbered(value, number))).collect())
        }
        other => other.clone(),
    }
}
