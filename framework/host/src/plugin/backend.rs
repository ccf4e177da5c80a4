//! The seam to reservation systems, as the lead sees it.

use async_trait::async_trait;
use vreserve_model::{Capabilities, Changes, Failure, Observed, Request, RequestKey};
use vreserve_sdk::Handle;

/// A reservation system. [`ReserveInstance`](super::ReserveInstance) is the one behind a plugin; tests have
/// one in memory.
///
/// Only verbs that the capabilities promise should be called; others answer `Unsupported`. No call takes
/// longer than the backend's deadline. A verb that changes something answers `UnknownOutcome` if it may have
/// done so (the deadline passed, the call was dropped, the answer made no sense): look (`find`, `list_owned`,
/// `query`) before asking again. A verb that only looks answers `Unavailable` then.
#[async_trait]
pub trait Backend: Send + Sync {
    /// What the reservation system can do.
    fn capabilities(&self) -> Capabilities;

    /// Asks for capacity. Submitting a key again does not reserve twice.
    async fn submit(&self, request: Request) -> Result<Observed, Failure>;

    /// Gives a reservation back; succeeds if it is already gone.
    async fn cancel(&self, handle: Handle) -> Result<(), Failure>;

    /// The state of one reservation; none if the provider says that it is gone.
    async fn query(&self, handle: Handle) -> Result<Option<Observed>, Failure>;

    /// Turns a hold into a promise.
    async fn commit(&self, handle: Handle) -> Result<Observed, Failure>;

    /// Drops a hold.
    async fn abort(&self, handle: Handle) -> Result<(), Failure>;

    /// Switches a booked reservation through, for the flow of the request that it was made with.
    async fn activate(&self, handle: Handle, request: Request) -> Result<Observed, Failure>;

    /// Takes a reservation out of use without giving it back.
    async fn deactivate(&self, handle: Handle) -> Result<Observed, Failure>;

    /// Changes the rate or end in place; refused, the reservation is as it was.
    async fn modify(&self, handle: Handle, request: Request) -> Result<Observed, Failure>;

    /// Every reservation made under a key.
    async fn find(&self, key: RequestKey) -> Result<Vec<Observed>, Failure>;

    /// Every reservation that `owner` holds.
    async fn list_owned(&self, owner: String) -> Result<Vec<Observed>, Failure>;

    /// Cancels every reservation of ours whose key is not in `valid`; returns those cancelled.
    async fn gc(&self, valid: Vec<RequestKey>) -> Result<Vec<RequestKey>, Failure>;

    /// Waits until a reservation changes, or for some seconds; tells what changed after `since`.
    async fn events(&self, since: u64) -> Result<Changes, Failure>;

    /// Whether the reservation system can be reached.
    async fn health(&self) -> Result<(), Failure>;
}
