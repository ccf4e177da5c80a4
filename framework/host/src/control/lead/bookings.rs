//! Advance reservations that operators make: good when their record is on disk.

use tokio::sync::oneshot;
use vreserve_core::lead::{BookingId, BookingWish, CalendarEntry};
use vreserve_core::ledger::Mark;
use vreserve_model::Timestamp;

use super::Running;

/// An operator who waits for a booking to be on disk.
pub(super) struct Promise {
    booking: BookingId,
    /// Behind its record, once that is on its way.
    mark: Option<Mark>,
    reply: oneshot::Sender<Result<CalendarEntry, String>>,
}

impl Running {
    pub(super) fn reserve(
        &mut self,
        now: Timestamp,
        wish: BookingWish,
        reply: oneshot::Sender<Result<CalendarEntry, String>>,
    ) {
        match self.shell.lead.book(now, wish) {
            Ok(booking) => self.promises.push(Promise { booking, mark: None, reply }),
            // Whoever asked may be gone: fine.
            Err(error) => drop(reply.send(Err(error.to_string()))),
        }
    }

    /// Answers those whose booking is on disk, and takes back what the disk does not take.
    pub(super) fn keep_promises(&mut self) {
        let now = self.now();
        for mut promise in std::mem::take(&mut self.promises) {
            let mark = *promise.mark.get_or_insert(self.ledger.mark());
            if let Some(reason) = self.ledger.failure() {
                let reason = format!("the journal cannot be written: {reason}");
                drop(self.shell.lead.cancel_booking(now, promise.booking));
                drop(promise.reply.send(Err(reason)));
            } else if self.ledger.is_durable(mark) {
                let mut entries = self.shell.lead.calendar().into_iter();
                let entry = entries.rfind(|entry| entry.booking == Some(promise.booking));
                drop(promise.reply.send(entry.ok_or_else(|| "it is over already".to_owned())));
            } else {
                self.promises.push(promise);
            }
        }
    }
}
