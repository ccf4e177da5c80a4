//! The stream of one connection, sealed or in clear text: bytes from an outbox to the socket, and from the socket into an
//! inbox, as many as go without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustls::server::Acceptor;
use rustls::{ClientConnection, Connection, ServerConfig};

use crate::inbox::Inbox;
use crate::knock::Knock;
use crate::outbox::Outbox;
use crate::tls::Tls;

/// Sealed bytes read at a time: while strangers may be there, and then several records of TLS, of 16 KiB each.
const FEW_BYTES: usize = 4096;
const MANY_BYTES: usize = 128 << 10;

/// Why a connection can carry nothing any more.
#[derive(Debug)]
pub(crate) enum Lost {
    /// The far end has closed it.
    Ended,
    /// The system says so.
    Broken(io::Error),
    /// What came is not TLS as it should be.
    Forged(rustls::Error),
    /// Nobody who dials us would begin like that.
    Stranger,
}

/// What an attempt to read has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Everything that had come is in the inbox: that many bytes.
    All(usize),
    /// The inbox is full.
    Full(usize),
}

/// See the module.
pub(crate) enum Channel {
    Clear(TcpStream),
    Sealed(Box<Sealed>),
}

/// A connection of TLS.
pub(crate) struct Sealed {
    socket: TcpStream,
    session: Session,
    /// Sealed bytes that have come.
    arrived: Inbox,
    /// What went wrong behind bytes that are still being read.
    failed: Option<Lost>,
}

enum Session {
    /// The first message has not come; who sends it must know us.
    Awaited { acceptor: Acceptor, config: Arc<ServerConfig>, knock: Arc<Knock> },
    /// There is one, perhaps still in its handshake.
    Begun(Connection),
    /// It has failed.
    Over,
}

impl Channel {
    /// Of a connection that this node dials: it knocks.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn dial(socket: TcpStream, tls: &Tls, name: String) -> Result<Self, rustls::Error> {
        let name = name.try_into().map_err(|_| rustls::Error::General("no server name".to_owned()))?;
        let session = ClientConnection::new(tls.dialing.clone(), name)?;
        Ok(Self::sealed(socket, Session::Begun(session.into())))
    }

    /// Of a connection that has come in, and says nothing until somebody has knocked.
    pub(crate) fn listen(socket: TcpStream, tls: &Tls, knock: Arc<Knock>) -> Self {
        let (acceptor, config) = (Acceptor::default(), tls.listening.clone());
        Self::sealed(socket, Session::Awaited { acceptor, config, knock })
    }

    fn sealed(socket: TcpStream, session: Session) -> Self {
        Channel::Sealed(Box::new(Sealed { socket, session, arrived: Inbox::new(FEW_BYTES), failed: None }))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Channel::Clear(socket) => socket,
            Channel::Sealed(sealed) => &sealed.socket,
        }
    }

    /// Makes room for a far node's traffic.
    pub(crate) fn grow(&mut self) {
        if let Channel::Sealed(sealed) = self {
            sealed.arrived.grow(MANY_BYTES);
        }
    }

    /// Of TLS: the session, once its handshake is over.
    pub(crate) fn established(&self) -> Option<&Connection> {
        match self {
            Channel::Sealed(sealed) => match &sealed.session {
                Session::Begun(session) if !session.is_handshaking() => Some(session),
                _ => None,
            },
            Channel::Clear(_) => None,
        }
    }

    /// Whether nobody has shown yet that it knows this node.
    pub(crate) fn awaits_knock(&self) -> bool {
        matches!(self, Channel::Sealed(sealed) if matches!(sealed.session, Session::Awaited { .. }))
    }

    /// Reads what has come.
    ///
    /// # Errors
    /// Why nothing more will come; never before everything that came is in the inbox.
    pub(crate) fn fill(&mut self, inbox: &mut Inbox) -> Result<Filled, Lost> {
        match self {
            Channel::Clear(socket) => fill_from(socket, inbox),
            Channel::Sealed(sealed) => sealed.fill(inbox),
        }
    }

    /// Sends what goes; returns how many frames have gone whole, and whether nothing is left.
    ///
    /// # Errors
    /// Why nothing more will go.
    pub(crate) fn drain(&mut self, outbox: &mut Outbox) -> Result<(u64, bool), Lost> {
        match self {
            Channel::Clear(socket) => drain_to(socket, outbox),
            Channel::Sealed(sealed) => sealed.drain(outbox),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// What a system call on a socket that does not block has led to.
fn went(result: io::Result<usize>) -> Result<Option<usize>, Lost> {
    match result {
        Ok(0) => Err(Lost::Ended),
        Ok(length) => Ok(Some(length)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(Lost::Broken(error)),
    }
}

fn fill_from(socket: &mut TcpStream, inbox: &mut Inbox) -> Result<Filled, Lost> {
    let mut filled = 0;
    loop {
        let space = inbox.space();
        if space.is_empty() {
            return Ok(Filled::Full(filled));
        }
        let room = space.len();
        match went(socket.read(space)) {
            Ok(Some(length)) => {
                inbox.commit(length);
                filled += length;
                // What is read in part has nothing more: one system call less.
                if length < room {
                    return Ok(Filled::All(filled));
                }
            }
            Ok(None) => return Ok(Filled::All(filled)),
            // It is said again at the next attempt.
            Err(_) if filled > 0 => return Ok(Filled::All(filled)),
            Err(lost) => return Err(lost),
        }
    }
}

fn drain_to(socket: &mut TcpStream, outbox: &mut Outbox) -> Result<(u64, bool), Lost> {
    let mut frames = 0;
    while !outbox.is_empty() {
        let (first, second) = outbox.pieces();
        let pieces = [io::IoSlice::new(first), io::IoSlice::new(second)];
        match went(socket.write_vectored(&pieces))? {
            Some(length) => frames += outbox.consume(length),
            None => return Ok((frames, false)),
        }
    }
    Ok((frames, true))
}

impl Sealed {
    fn fill(&mut self, inbox: &mut Inbox) -> Result<Filled, Lost> {
        if let Some(lost) = self.failed.take() {
            return Err(lost);
        }
        let mut filled = 0;
        match self.fill_until(inbox, &mut filled) {
            Err(lost) if filled > 0 => {
                self.failed = Some(lost);
                // There is more to be told.
                Ok(Filled::Full(filled))
            }
            result => result,
        }
    }

    fn fill_until(&mut self, inbox: &mut Inbox, filled: &mut usize) -> Result<Filled, Lost> {
        loop {
            let opened = match &mut self.session {
                Session::Begun(session) => take_opened(session, inbox)?,
                Session::Awaited { .. } | Session::Over => 0,
            };
            *filled += opened;
            if inbox.space().is_empty() {
                return Ok(Filled::Full(*filled));
            }
            if self.arrived.filled().is_empty() {
                let space = self.arrived.space();
                match went(self.socket.read(space))? {
                    Some(length) => self.arrived.commit(length),
                    None => return Ok(Filled::All(*filled)),
                }
            }
            self.open_arrived()?;
        }
    }

    /// Gives the session what has come.
    fn open_arrived(&mut self) -> Result<(), Lost> {
        let mut bytes = self.arrived.filled();
        let before = bytes.len();
        match &mut self.session {
            Session::Begun(session) => {
                session.read_tls(&mut bytes).map_err(Lost::Broken)?;
                let taken = before - bytes.len();
                self.arrived.consume(taken);
                session.process_new_packets().map_err(Lost::Forged)?;
                if taken == 0 { Err(Lost::Ended) } else { Ok(()) }
            }
            Session::Awaited { acceptor, .. } => {
                acceptor.read_tls(&mut bytes).map_err(Lost::Broken)?;
                let taken = before - bytes.len();
                self.arrived.consume(taken);
                self.answer_door()
            }
            Session::Over => Err(Lost::Stranger),
        }
    }

    /// Begins a session with whoever has knocked. Anybody else gets nothing, not even an alert.
    fn answer_door(&mut self) -> Result<(), Lost> {
        let Session::Awaited { acceptor, config, knock } = &mut self.session else { return Ok(()) };
        let accepted = match acceptor.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => return Ok(()),
            Err(_) => return Err(Lost::Stranger),
        };
        let has_knocked = accepted.client_hello().server_name().is_some_and(|name| knock.is_in(name));
        if !has_knocked {
            self.session = Session::Over;
            return Err(Lost::Stranger);
        }
        let begun = accepted.into_connection(config.clone());
        self.session = Session::Begun(begun.map_err(|(error, _)| Lost::Forged(error))?.into());
        Ok(())
    }

    fn drain(&mut self, outbox: &mut Outbox) -> Result<(u64, bool), Lost> {
        let Session::Begun(session) = &mut self.session else { return Ok((0, true)) };
        let mut frames = 0;
        loop {
            while session.wants_write() {
                if went(session.write_tls(&mut self.socket))?.is_none() {
                    return Ok((frames, false));
                }
            }
            if session.is_handshaking() || outbox.is_empty() {
                return Ok((frames, true));
            }
            // It takes as much as its own buffer holds.
            let taken = session.writer().write(outbox.pieces().0).map_err(Lost::Broken)?;
            frames += outbox.consume(taken);
        }
    }
}

/// Moves opened bytes into the inbox; returns how many.
fn take_opened(session: &mut Connection, inbox: &mut Inbox) -> Result<usize, Lost> {
    let mut taken = 0;
    loop {
        let space = inbox.space();
        if space.is_empty() {
            return Ok(taken);
        }
        match session.reader().read(space) {
            // The far end has said that this is all.
            Ok(0) if taken == 0 => return Err(Lost::Ended),
            Ok(0) => return Ok(taken),
            Ok(length) => {
                inbox.commit(length);
                taken += length;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(taken),
            Err(error) => return Err(Lost::Broken(error)),
        }
    }
}
