//! The running show: takes the lead's events and the meter's readings as they come, and draws them.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::clock::now_ms;
use super::meter::Meter;
use super::record::Record;
use super::stage::Stage;
use super::story::Story;
use super::timeline::{Reading, Timeline};
use crate::interrupt;

/// Between two looks at events and processes.
const TICK: Duration = Duration::from_millis(20);
/// Between two readings of the meter, each drawn over the last.
const READ_EVERY_MS: u64 = 100;
/// Between two lines that stay; each shows the mean rate since the last.
const LINE_EVERY_MS: u64 = 500;
/// How long nothing shall happen before the traffic begins: the guests' first frames have been seen.
const SETTLE: Duration = Duration::from_millis(1500);

/// What a show goes on with, and what it has seen.
pub(crate) struct Show<'a> {
    pub(crate) stage: &'a mut Stage,
    pub(crate) story: Story,
    timeline: Timeline,
    events: Receiver<Record>,
    meter: Meter,
    /// Of what competes with the guests.
    competing: Option<Meter>,
    began: Option<u64>,
    read_at: u64,
    line_at: u64,
}

/// What a show has seen.
pub(crate) struct Seen {
    pub(crate) story: Story,
    pub(crate) meter: Meter,
    pub(crate) competing: Option<Meter>,
    /// When the traffic began.
    pub(crate) began: u64,
}

impl<'a> Show<'a> {
    /// A show that has not begun.
    pub(crate) fn new(
        stage: &'a mut Stage,
        timeline: Timeline,
        events: Receiver<Record>,
        story: Story,
        meter: Meter,
        competing: Option<Meter>,
    ) -> Self {
        Self { stage, story, timeline, events, meter, competing, began: None, read_at: 0, line_at: 0 }
    }

    /// Lets the guests' first frames be learned, without drawing.
    ///
    /// # Errors
    /// If a process ends; a signal.
    pub(crate) fn settle(&mut self) -> anyhow::Result<()> {
        self.go_on(SETTLE, |_| Ok(false)).map(drop)
    }

    /// The traffic begins now.
    pub(crate) fn begin(&mut self, remark: &str) {
        let now = now_ms();
        (self.began, self.read_at, self.line_at) = (Some(now), now, now);
        self.remark(remark);
    }

    /// A remark at this moment.
    pub(crate) fn remark(&mut self, text: &str) {
        self.timeline.remark(self.since_began(now_ms()), text);
    }

    /// Goes on until something holds (true) or the time is over (false).
    ///
    /// # Errors
    /// If a process ends; a signal; whatever `until` fails with.
    pub(crate) fn go_on(
        &mut self,
        at_most: Duration,
        mut until: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            interrupt::check()?;
            self.stage.check()?;
            self.take_events()?;
            self.draw()?;
            if until(self)? {
                return Ok(true);
            }
            std::thread::sleep(TICK);
        }
        Ok(false)
    }

    /// What was seen.
    pub(crate) fn end(self) -> Seen {
        let began = self.began.expect("a show ends after it began");
        Seen { story: self.story, meter: self.meter, competing: self.competing, began }
    }

    fn take_events(&mut self) -> anyhow::Result<()> {
        loop {
            match self.events.try_recv() {
                Ok(record) => {
                    self.story.handle(&record);
                    if self.began.is_some() {
                        self.timeline.event(self.since_began(record.at_ms), &record.event);
                    }
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => bail!("the lead's event stream ended"),
            }
        }
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let now = now_ms();
        if self.began.is_none() || now < self.read_at + READ_EVERY_MS {
            return Ok(());
        }
        self.read_at = now;
        self.meter.read(self.stage.lab())?;
        self.competing.iter_mut().try_for_each(|meter| meter.read(self.stage.lab()))?;
        if now >= self.line_at + LINE_EVERY_MS {
            let reading = self.reading(now, self.line_at);
            self.line_at = now;
            self.timeline.reading(&reading);
        } else {
            let reading = self.reading(now, now.saturating_sub(3 * READ_EVERY_MS));
            self.timeline.live(&reading);
        }
        Ok(())
    }

    fn reading(&self, now: u64, since: u64) -> Reading {
        let mbps = self.meter.mbps(since, now_ms()).unwrap_or(0.0);
        Reading { at_ms: self.since_began(now), mbps, way: self.story.way, state: self.story.state() }
    }

    fn since_began(&self, at_ms: u64) -> i64 {
        at_ms.cast_signed() - self.began.unwrap_or(at_ms).cast_signed()
    }
}
