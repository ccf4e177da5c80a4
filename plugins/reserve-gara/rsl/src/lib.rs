//! Globus RSL: requests as values, the parser, the writer, and what GARA asks in it.
//!
//! Shared by `gara-server` (testbed) and the plugin `reserve-gara`. Pure: no I/O, no clock. [`spec`] has the
//! values, [`parse`] reads text into them and `Display` writes them, [`attributes`] looks relations up,
//! [`request`] has the reservation requests that GARA writes in RSL, [`wire`] the lines that client and server
//! exchange.
//!
//! ```
//! let spec = vreserve_rsl::parse("&(reservation-type=network)(bandwidth=150)")?;
//! assert_eq!(spec.to_string(), "&(reservation-type=network)(bandwidth=150)");
//! # Ok::<(), vreserve_rsl::ParseError>(())
//! ```

pub mod attributes;
mod lexer;
mod parser;
pub mod request;
pub mod spec;
pub mod wire;
mod writer;

pub use attributes::{AttributeError, Attributes};
pub use parser::{DEEPEST_NESTING, ParseError, ParseErrorKind, parse};
pub use request::{Binding, Change, NetworkRequest, Protocol};
pub use spec::{Combiner, Operator, Relation, Spec, Value};
