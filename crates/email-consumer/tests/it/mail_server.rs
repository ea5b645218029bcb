//! An SMTP server that keeps what it receives and follows a script: one act per conversation, then everything is accepted.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use email_consumer::MailArgs;
use mailin::{Action, Handler, Response, SessionBuilder};
use settings::Secret;

/// What the server does in one conversation instead of accepting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Answers the recipient with this code.
    Recipient(u16),
    /// Answers the whole message with this code.
    Message(u16),
    /// Never answers the recipient.
    SilentAtRecipient,
    /// Answers the recipient when [`MailServer::release`] is called.
    HeldAtRecipient,
    /// Has the whole message and never answers.
    SilentAfterMessage,
    /// Has the whole message and closes the connection.
    CloseAfterMessage,
}

/// A message that arrived whole.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
    /// Whether the server said that it took it.
    pub(crate) accepted: bool,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let line = self
            .text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }
}

#[derive(Clone, Default)]
struct State {
    script: Arc<Mutex<VecDeque<Act>>>,
    received: Arc<Mutex<Vec<Received>>>,
    released: Arc<(Mutex<bool>, Condvar)>,
}

pub(crate) struct MailServer {
    port: u16,
    state: State,
}

impl MailServer {
    pub(crate) fn start(script: &[Act]) -> MailServer {
        MailServer::on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), script)
    }

    pub(crate) fn on(listener: TcpListener, script: &[Act]) -> MailServer {
        let state = State::default();
        state.script.lock().unwrap().extend(script);
        let port = listener.local_addr().unwrap().port();
        let serving = state.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (connection, state) = (connection.unwrap(), serving.clone());
                // An error is a client that went away.
                std::thread::spawn(move || converse(connection, state).ok());
            }
        });
        MailServer { port, state }
    }

    pub(crate) fn args(&self) -> MailArgs {
        args(self.port)
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    pub(crate) fn release(&self) {
        let (released, changed) = &*self.state.released;
        *released.lock().unwrap() = true;
        changed.notify_all();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }
}

pub(crate) fn args(port: u16) -> MailArgs {
    MailArgs {
        smtp_url: Secret::of(url(port)),
        mail_from: "Plumbline <no-reply@plumbline.localhost>".parse().unwrap(),
    }
}

fn url(port: u16) -> String {
    format!("smtp://127.0.0.1:{port}")
}

struct Conversation {
    act: Option<Act>,
    received: Arc<Mutex<Vec<Received>>>,
    released: Arc<(Mutex<bool>, Condvar)>,
    to: Vec<String>,
    data: Vec<u8>,
    silent: Arc<Mutex<Option<Act>>>,
}

fn answer(code: u16) -> Response {
    Response::custom(code, "as the script says <ada@example.com>".to_owned())
}

impl Handler for Conversation {
    fn rcpt(&mut self, to: &str) -> Response {
        self.to.push(to.to_owned());
        match self.act {
            Some(Act::Recipient(code)) => answer(code),
            Some(Act::SilentAtRecipient) => {
                *self.silent.lock().unwrap() = self.act;
                mailin::response::OK
            }
            Some(Act::HeldAtRecipient) => {
                let (released, changed) = &*self.released;
                let held = changed.wait_while(released.lock().unwrap(), |released| !*released);
                drop(held.unwrap());
                mailin::response::OK
            }
            _ => mailin::response::OK,
        }
    }

    fn data(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.data.extend_from_slice(line);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        let response = match self.act {
            Some(Act::Message(code)) => answer(code),
            _ => mailin::response::OK,
        };
        if matches!(self.act, Some(Act::SilentAfterMessage | Act::CloseAfterMessage)) {
            *self.silent.lock().unwrap() = self.act;
        }
        self.received.lock().unwrap().push(Received {
            to: std::mem::take(&mut self.to),
            text: String::from_utf8_lossy(&std::mem::take(&mut self.data)).into_owned(),
            accepted: self.act.is_none(),
        });
        response
    }
}

fn converse(mut connection: TcpStream, state: State) -> std::io::Result<()> {
    let silent = Arc::new(Mutex::new(None));
    let act = state.script.lock().unwrap().pop_front();
    let conversation = Conversation {
        act,
        received: state.received,
        released: state.released,
        to: Vec::new(),
        data: Vec::new(),
        silent: silent.clone(),
    };
    let mut session = SessionBuilder::new("mail.test").build(IpAddr::V4(Ipv4Addr::LOCALHOST), conversation);
    session.greeting().write_to(&mut connection)?;
    let mut lines = BufReader::new(connection.try_clone()?);
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let response = session.process(&line);
        match silent.lock().unwrap().take() {
            Some(Act::CloseAfterMessage) => return Ok(()),
            // Waits until the client gives up.
            Some(_) => return lines.read_to_end(&mut Vec::new()).map(drop),
            None => {}
        }
        if response.action != Action::NoReply {
            response.write_to(&mut connection)?;
            connection.flush()?;
        }
        if response.action == Action::Close {
            return Ok(());
        }
    }
}
