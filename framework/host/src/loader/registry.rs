//! All plugins of one daemon: those linked in, those loaded, and the state of every instance.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use vreserve_abi::PluginRef;
use vreserve_model::Failure;

use super::file::{CheckedFile, digest, hexadecimal};
use super::{LoadError, Metadata, library, metadata, resolve};
use crate::config::Instance;
use crate::plugin::{
    AdaptInstance, CaptureInstance, InferInstance, InstanceHost, LinkInstance, PluginKind, ReserveInstance,
};

/// A plugin that is ready to open instances.
#[derive(Clone)]
pub struct Plugin {
    /// Its root table.
    pub root: PluginRef,
    /// Its own version; none if it is linked in.
    pub version: Option<String>,
    /// Its file; none if it is linked in.
    pub path: Option<PathBuf>,
}

/// Why an instance cannot be started.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its plugin cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin would not open it; [`Config::plugin_error`](crate::config::Config::plugin_error) gives
    /// the place if its configuration is wrong.
    #[error(transparent)]
    Open(#[from] Failure),
}

/// How far an instance has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// The configuration names it.
    Declared,
    /// Its plugin is loaded.
    Loaded,
    /// It is open.
    Started,
    /// It is not, for this reason in one line.
    Failed(String),
}

/// One instance, as `vreserve status` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginStatus {
    /// Its kind's name.
    pub kind: &'static str,
    /// Its name.
    pub instance: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version, once loaded.
    pub version: Option<String>,
    /// The plugin's file, once loaded.
    pub path: Option<PathBuf>,
    /// Whether the node cannot run without it.
    pub required: bool,
    /// How far it has come.
    pub state: PluginState,
    /// What else an operator must know of it.
    pub note: Option<String>,
}

/// The plugins of one daemon. May be used from any thread.
pub struct Registry {
    dirs: Vec<PathBuf>,
    linked: BTreeMap<&'static str, PluginRef>,
    loaded: Loaded,
    states: Mutex<BTreeMap<(PluginKind, String), PluginStatus>>,
}

/// Device, inode, and the plugin's name in that file.
type LoadKey = (u64, u64, String);

/// Shared with trials: a file is loaded once in a process.
type Loaded = Arc<Mutex<BTreeMap<LoadKey, Result<LoadedFile, LoadError>>>>;

#[derive(Clone)]
struct LoadedFile {
    plugin: Plugin,
    metadata: Metadata,
    digest: [u8; 32],
}

impl Registry {
    /// Plugins are looked for in `dirs`, in order.
    pub fn new(dirs: Vec<PathBuf>) -> Self {
        Registry { dirs, linked: BTreeMap::new(), loaded: Arc::default(), states: Mutex::default() }
    }

    /// Adds plugins that are linked into the program; they come before the directories, but after an explicit
    /// `path`.
    #[must_use]
    pub fn with_static(mut self, plugins: &[(&'static str, PluginRef)]) -> Self {
        self.linked.extend(plugins.iter().copied());
        self
    }

    /// A registry of the same plugins that knows of no instance yet: what is tried there does not show in this one's
    /// `status` until [`adopt`](Self::adopt).
    #[must_use]
    pub fn trial(&self) -> Self {
        let (dirs, linked) = (self.dirs.clone(), self.linked.clone());
        Registry { dirs, linked, loaded: self.loaded.clone(), states: Mutex::default() }
    }

    /// Takes over what a trial has made of instances of `kind`: those in `opened` are as the trial left them, others
    /// that it knows stay as they are, and those that it does not know are gone.
    pub fn adopt(&self, trial: &Registry, kind: PluginKind, opened: &[String]) {
        let tried = lock(&trial.states);
        let mut states = lock(&self.states);
        states.retain(|key, _| key.0 != kind || tried.contains_key(key));
        let fresh = tried.iter().filter(|(key, _)| key.0 == kind && opened.contains(&key.1));
        states.extend(fresh.map(|(key, status)| (key.clone(), status.clone())));
    }

    /// Lists instances as declared, so that `status` shows them before they are started.
    pub fn declare<'a>(&self, instances: impl IntoIterator<Item = &'a Instance>) {
        instances.into_iter().for_each(|instance| self.set_state(instance, PluginState::Declared));
    }

    /// Loads the plugin of an instance, unless it is loaded already.
    ///
    /// # Errors
    /// The first check that fails, in the order that [`loader`](super) describes.
    pub fn load(&self, instance: &Instance) -> Result<Plugin, LoadError> {
        let plugin = self.find(instance).inspect_err(|error| self.fail(instance, error))?;
        self.set_state(instance, PluginState::Loaded);
        let mut states = lock(&self.states);
        if let Some(status) = states.get_mut(&(instance.kind, instance.name.clone())) {
            status.version.clone_from(&plugin.version);
            status.path.clone_from(&plugin.path);
        }
        Ok(plugin)
    }

    /// Checks an instance's configuration as `vreserve check` does: the plugin is loaded, but no instance is
    /// opened.
    ///
    /// # Errors
    /// As for `load`, and what the plugin says of its configuration.
    pub fn validate(&self, instance: &Instance) -> Result<(), StartError> {
        let plugin = self.load(instance)?;
        let validate = plugin.root.validate();
        let answer = validate(instance.kind.name().into(), instance.settings.as_str().into());
        crate::plugin::answer(answer).inspect_err(|failure| self.fail(instance, failure))?;
        Ok(())
    }

    /// Opens a capture instance.
    ///
    /// # Errors
    /// As for `load`, and what the plugin answers.
    pub fn open_capture(
        &self,
        instance: &Instance,
        host: &InstanceHost,
    ) -> Result<CaptureInstance, StartError> {
        self.open(instance, |plugin| CaptureInstance::open(plugin, host, &instance.settings))
    }

    /// Opens a link instance.
    ///
    /// # Errors
    /// As for `open_capture`.
    pub fn open_link(&self, instance: &Instance, host: &InstanceHost) -> Result<LinkInstance, StartError> {
        self.open(instance, |plugin| LinkInstance::open(plugin, host, &instance.settings))
    }

    /// Opens an inference instance.
    ///
    /// # Errors
    /// As for `open_capture`.
    pub fn open_infer(&self, instance: &Instance, host: &InstanceHost) -> Result<InferInstance, StartError> {
        self.open(instance, |plugin| InferInstance::open(plugin, host, &instance.settings))
    }

    /// Opens an adaptation instance.
    ///
    /// # Errors
    /// As for `open_capture`.
    pub fn open_adapt(&self, instance: &Instance, host: &InstanceHost) -> Result<AdaptInstance, StartError> {
        self.open(instance, |plugin| AdaptInstance::open(plugin, host, &instance.settings))
    }

    /// Opens a reservation instance whose calls may take `deadline` each.
    ///
    /// # Errors
    /// As for `open_capture`.
    pub fn open_reserve(
        &self,
        instance: &Instance,
        host: &InstanceHost,
        deadline: Duration,
    ) -> Result<ReserveInstance, StartError> {
        self.open(instance, |plugin| ReserveInstance::open(plugin, host, &instance.settings, deadline))
    }

    /// Notes that an instance has ended, and why.
    pub fn fail(&self, instance: &Instance, reason: &dyn std::fmt::Display) {
        self.set_state(instance, PluginState::Failed(reason.to_string()));
    }

    /// Says of an instance what an operator must know.
    pub fn note(&self, instance: &Instance, note: String) {
        if let Some(status) = lock(&self.states).get_mut(&(instance.kind, instance.name.clone())) {
            status.note = Some(note);
        }
    }

    /// Every instance, by kind and name.
    pub fn status(&self) -> Vec<PluginStatus> {
        lock(&self.states).values().cloned().collect()
    }

    /// The names of plugins that could have been meant by one that was not found.
    pub fn plausible_names(&self) -> Vec<String> {
        let linked = self.linked.keys().map(|name| (*name).to_owned());
        linked.chain(resolve::plausible_names(&self.dirs)).collect()
    }

    fn open<T>(
        &self,
        instance: &Instance,
        open: impl FnOnce(PluginRef) -> Result<T, Failure>,
    ) -> Result<T, StartError> {
        let plugin = self.load(instance)?;
        let opened = open(plugin.root).inspect_err(|failure| self.fail(instance, failure))?;
        self.set_state(instance, PluginState::Started);
        Ok(opened)
    }

    fn find(&self, instance: &Instance) -> Result<Plugin, LoadError> {
        if let (None, Some(root)) = (&instance.path, self.linked.get(instance.plugin.as_str())) {
            return Ok(Plugin { root: *root, version: None, path: None });
        }
        let file = CheckedFile::open(&resolve::resolve(instance, &self.dirs)?)?;
        let path = file.path.clone();
        let key = (file.identity.0, file.identity.1, instance.plugin.clone());
        let mut loaded = lock(&self.loaded);
        let loaded = match loaded.get(&key) {
            Some(known) => known.clone()?,
            None => {
                let checked = check(&file, instance)?;
                let outcome = library::load(file, &instance.plugin).map(|root| LoadedFile {
                    plugin: Plugin {
                        root,
                        version: Some(checked.0.version.clone()),
                        path: Some(path.clone()),
                    },
                    metadata: checked.0,
                    digest: checked.1,
                });
                loaded.insert(key, outcome.clone());
                outcome?
            }
        };
        // A file that another instance had loaded still has to suit this one.
        loaded.metadata.check(instance.kind)?;
        check_pin(&path, instance, &loaded.digest)?;
        Ok(loaded.plugin)
    }

    fn set_state(&self, instance: &Instance, state: PluginState) {
        let mut states = lock(&self.states);
        let status = states.entry((instance.kind, instance.name.clone())).or_insert_with(|| PluginStatus {
            kind: instance.kind.name(),
            instance: instance.name.clone(),
            plugin: instance.plugin.clone(),
            version: None,
            path: None,
            required: instance.required,
            state: PluginState::Declared,
            note: None,
        });
        status.state = state;
    }
}

/// Reads the file's metadata and makes every check that can be made before it is loaded.
pub(super) fn check(file: &CheckedFile, instance: &Instance) -> Result<(Metadata, [u8; 32]), LoadError> {
    let bytes = file.bytes()?;
    let mut found = metadata::read(&file.path, &bytes)?;
    let named = found.iter().position(|metadata| metadata.name == instance.plugin);
    let Some(named) = named else {
        let names = found.iter().map(|metadata| metadata.name.as_str()).collect::<Vec<_>>().join(", ");
        let expected = instance.plugin.clone();
        return Err(LoadError::WrongName { path: file.path.clone(), found: names, expected });
    };
    let metadata = found.swap_remove(named);
    metadata.check(instance.kind)?;
    let digest = digest(&bytes);
    check_pin(&file.path, instance, &digest)?;
    Ok((metadata, digest))
}

fn check_pin(path: &std::path::Path, instance: &Instance, digest: &[u8; 32]) -> Result<(), LoadError> {
    if instance.sha256.is_none_or(|pin| pin == *digest) {
        return Ok(());
    }
    Err(LoadError::Digest { path: path.to_owned(), found: hexadecimal(digest) })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
