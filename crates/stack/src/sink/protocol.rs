//! SMTP: the `mailin` state machine over blocking sockets, a thread for each connection.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mailin::{Action, Handler, Response, SessionBuilder, response};

use super::mailbox::Mailbox;

/// Connections at once.
const CONNECTIONS: usize = 128;

/// A longer line ends the connection. RFC 5321 asks for 1,000 octets.
const LINE: u64 = 64 << 10;

/// The longest message.
const MESSAGE: usize = 25 << 20;

/// A silent client is cut off after RFC 5321's five minutes.
const IDLE: Duration = Duration::from_secs(300);

/// Takes connections until the process ends.
pub(crate) fn accept(listener: &TcpListener, mailbox: &Arc<Mailbox>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            // Out of file descriptors, most likely; some will be free again soon.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            let _ = stream.write_all(b"421 Too many connections\r\n");
            continue;
        }
        let (open, mailbox) = (open.clone(), mailbox.clone());
        std::thread::spawn(move || {
            // A client that hangs up in the middle of a message has sent no message.
            let _ = converse(&stream, mailbox);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn converse(stream: &TcpStream, mailbox: Arc<Mailbox>) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let recipient = Recipient {
        mailbox,
        message: Vec::new(),
        too_long: false,
    };
    let mut session = SessionBuilder::new("plumbline-sink").build(stream.peer_addr()?.ip(), recipient);
    send(&mut writer, &session.greeting())?;
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(());
        }
        let answer = session.process(&line);
        match answer.action {
            Action::NoReply => {}
            Action::Reply => send(&mut writer, &answer)?,
            Action::Close | Action::UpgradeTls => return send(&mut writer, &answer),
        }
    }
}

fn send(writer: &mut &TcpStream, answer: &Response) -> io::Result<()> {
    let mut bytes = Vec::new();
    answer.write_to(&mut bytes)?;
    writer.write_all(&bytes)
}

/// Takes everything for everyone.
struct Recipient {
    mailbox: Arc<Mailbox>,
    message: Vec<u8>,
    too_long: bool,
}

impl Handler for Recipient {
    fn data_start(&mut self, _domain: &str, _from: &str, _is8bit: bool, _to: &[String]) -> Response {
        self.message.clear();
        self.too_long = false;
        response::OK
    }

    fn data(&mut self, line: &[u8]) -> io::Result<()> {
        // An error here would be an answer in the middle of the message, so it is told at the end.
        self.too_long |= self.message.len() + line.len() > MESSAGE;
        if !self.too_long {
            self.message.extend_from_slice(line);
        }
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        if self.too_long {
            return response::NO_STORAGE;
        }
        match self.mailbox.add(&self.message) {
            Ok(()) => response::OK,
            Err(error) => {
                eprintln!("cannot keep a message: {error}");
                response::OUT_OF_SPACE
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_before_it_is_acknowledged_and_dots_are_unstuffed() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Arc::new(Mailbox::open(dir.path()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = mailbox.clone();
        std::thread::spawn(move || accept(&listener, &receiver));

        let stream = TcpStream::connect(address).unwrap();
        let mut answers = BufReader::new(&stream).lines();
        let mut expect = |code: &str| loop {
            let line = answers.next().unwrap().unwrap();
            assert!(line.starts_with(code), "{line}");
            // A hyphen says that more lines follow.
            if !line[3..].starts_with('-') {
                break;
            }
        };
        expect("220");
        // Two messages on one connection, as a mail client with a pool sends them.
        (&stream).write_all(b"EHLO client\r\n").unwrap();
        expect("250");
        for subject in ["one", "two"] {
            for (line, code) in [
                ("MAIL FROM:<a@example.com>", "250"),
                ("RCPT TO:<b@example.com>", "250"),
                ("DATA", "354"),
            ] {
                (&stream).write_all(format!("{line}\r\n").as_bytes()).unwrap();
                expect(code);
            }
            (&stream)
                .write_all(format!("Subject: {subject}\r\n\r\n..dotted\r\n.\r\n").as_bytes())
                .unwrap();
            expect("250");
        }
        let (total, list) = mailbox.list(0, 10);
        assert_eq!(total, 2);
        assert_eq!(
            mailbox.raw(list[0].id).unwrap(),
            b"Subject: two\r\n\r\n.dotted\r\n"
        );
        (&stream).write_all(b"QUIT\r\n").unwrap();
        expect("221");
    }
}
