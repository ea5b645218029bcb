//! One SMTP conversation, step by step.
//!
//! lettre's transport sends in one call, after which a broken connection may have broken anywhere. Here the steps are separate, so
//! that only what breaks after the message has begun leaves a doubt.

use std::str::FromStr;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Severity;
use settings::{Secret, Setting};

/// The mail server and who writes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "E-mail")]
pub struct MailArgs {
    #[command(flatten)]
    pub smtp_url: Secret<SmtpUrl>,

    /// Sender of every mail.
    #[arg(
        long,
        env = "MAIL_FROM",
        value_name = "MAILBOX",
        default_value = "Plumbline <no-reply@plumbline.localhost>",
        value_parser = mailbox
    )]
    pub mail_from: Mailbox,
}

fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    text.parse()
        .map_err(|_| "it is not a mailbox like name@example.org or Name <name@example.org>")
}

/// A mail server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpUrl {
    pub host: String,
    pub port: u16,
}

impl Setting for SmtpUrl {
    const ENV: &'static str = "SMTP_URL";
    const VALUE_NAME: &'static str = "URL";
    const HELP: &'static str = "Mail server, `smtp://host:port` (25 if no port is given)";
    const REQUIRED: bool = true;

    fn check(url: &str) -> Result<(), String> {
        url.parse::<SmtpUrl>()
            .map(drop)
            .map_err(|reason| format!("it {reason}"))
    }
}

impl FromStr for SmtpUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<SmtpUrl, &'static str> {
        let address = url.strip_prefix("smtp://").ok_or("does not start with smtp://")?;
        if address.contains(['@', '/', '?']) {
            return Err("holds more than a host and a port");
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| "has a port that is no number")?),
            None => (address, 25),
        };
        if host.is_empty() {
            return Err("names no host");
        }
        Ok(SmtpUrl {
            host: host.to_owned(),
            port,
        })
    }
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// From the connection to the recipient's acceptance.
const OPEN_LIMIT: Duration = Duration::from_secs(15);

/// For the answer to a whole message: what RFC 5321 (4.5.3.2.6) asks of a client.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);

/// The server has not taken the message, for certain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It may another time.
    Later(String),
    Never(String),
}

/// What became of a message that was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted,
    Refused(Refused),
    /// The connection ended before the answer came.
    None(String),
}

/// A conversation in which sender and recipient are accepted and the message can follow.
pub(crate) struct Ready(AsyncSmtpConnection);

impl SmtpUrl {
    /// What the setting says now.
    pub(crate) fn read(setting: &Secret<SmtpUrl>) -> Result<SmtpUrl, Refused> {
        let url = setting
            .read()
            .map_err(|error| Refused::Later(error.to_string()))?;
        url.parse()
            .map_err(|reason| Refused::Later(format!("SMTP_URL {reason}")))
    }

    /// Connects and announces the message.
    pub(crate) async fn open(&self, envelope: &Envelope) -> Result<Ready, Refused> {
        tokio::time::timeout(OPEN_LIMIT, self.announce(envelope))
            .await
            .unwrap_or_else(|_| Err(Refused::Later(format!("no answer within {OPEN_LIMIT:?}"))))
    }

    async fn announce(&self, envelope: &Envelope) -> Result<Ready, Refused> {
        let server = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            server,
            Some(CONNECT_LIMIT),
            &ClientId::default(),
            None,
            None,
        )
        .await
        // Even a final refusal here is about the server, not about this mail.
        .map_err(|error| Refused::Later(reason(&error)))?;

        let mut parameters = Vec::new();
        let mut addresses = envelope.to().iter().chain(envelope.from());
        if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let reason = "the server takes no address outside of ASCII".to_owned();
                return Err(Refused::Never(reason));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        connection
            .command(Mail::new(envelope.from().cloned(), parameters))
            .await
            .map_err(refused)?;
        for recipient in envelope.to() {
            connection
                .command(Rcpt::new(recipient.clone(), Vec::new()))
                .await
                .map_err(refused)?;
        }
        Ok(Ready(connection))
    }
}

impl Ready {
    /// Sends the message; `message` is ASCII with CRLF line ends.
    pub(crate) async fn send(mut self, message: &[u8]) -> Answer {
        tokio::time::timeout(ANSWER_LIMIT, self.say(message))
            .await
            .unwrap_or_else(|_| Answer::None(format!("no answer within {ANSWER_LIMIT:?}")))
    }

    async fn say(&mut self, message: &[u8]) -> Answer {
        if let Err(error) = self.0.command(Data).await {
            // Nothing of the message has been written.
            return Answer::Refused(refused(error));
        }
        let answer = self.0.message(message).await;
        match answer {
            Ok(answer) if answer.code().severity == Severity::PositiveCompletion => {
                self.close().await;
                Answer::Accepted
            }
            Ok(answer) => Answer::None(format!("unexpected answer {}", answer.code())),
            Err(error) if error.status().is_some() => Answer::Refused(refused(error)),
            Err(error) => Answer::None(reason(&error)),
        }
    }

    /// Ends the conversation without a message.
    pub(crate) async fn cancel(mut self) {
        self.close().await;
    }

    /// QUIT; its answer matters to nobody.
    async fn close(&mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.0.quit()).await;
    }
}

fn refused(error: lettre::transport::smtp::Error) -> Refused {
    if error.is_permanent() {
        Refused::Never(reason(&error))
    } else {
        Refused::Later(reason(&error))
    }
}

/// The code of an answer without its text, which may repeat the address; otherwise what broke.
fn reason(error: &lettre::transport::smtp::Error) -> String {
    match error.status() {
        Some(code) => format!("the server answered {code}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let check = |url: &str, expected: Option<(&str, u16)>| {
            let parsed = url.parse::<SmtpUrl>().ok();
            let expected = expected.map(|(host, port)| SmtpUrl {
                host: host.into(),
                port,
            });
            assert_eq!(parsed, expected, "{url}");
        };
        check("smtp://127.0.0.1:1025", Some(("127.0.0.1", 1025)));
        check("smtp://mail.example", Some(("mail.example", 25)));
        check("smtps://mail.example", None);
        check("mail.example:25", None);
        check("smtp://user:word@mail.example:25", None);
        check("smtp://:25", None);
        check("smtp://mail.example:mail", None);
    }
}
