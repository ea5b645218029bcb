//! Messages as files, named by a UUIDv7, so that their order and their time are in the name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use mail_parser::{Addr, Address, Message, MessageParser};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Every message that was ever received, unless it was deleted.
#[derive(Debug)]
pub(crate) struct Mailbox {
    dir: PathBuf,
    /// Oldest first.
    summaries: Mutex<Vec<Summary>>,
}

/// A message as Mailpit lists it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Summary {
    #[serde(rename = "ID")]
    pub(crate) id: Uuid,
    #[serde(rename = "MessageID")]
    pub(crate) message_id: String,
    pub(crate) read: bool,
    pub(crate) from: Person,
    pub(crate) to: Vec<Person>,
    pub(crate) cc: Vec<Person>,
    pub(crate) bcc: Vec<Person>,
    pub(crate) reply_to: Vec<Person>,
    pub(crate) subject: String,
    pub(crate) created: String,
    pub(crate) tags: Vec<String>,
    pub(crate) size: usize,
    pub(crate) attachments: usize,
    pub(crate) snippet: String,
}

/// A message in full, as Mailpit shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Full {
    #[serde(flatten)]
    pub(crate) summary: Summary,
    pub(crate) date: String,
    pub(crate) text: String,
    #[serde(rename = "HTML")]
    pub(crate) html: String,
}

/// An address with its display name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) address: String,
}

impl Mailbox {
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Mailbox> {
        crate::files::make_dir(dir)?;
        let mut summaries = Vec::new();
        for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| name.strip_suffix(".eml"));
            if let Some(id) = name.and_then(|name| Uuid::parse_str(name).ok()) {
                let raw = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                summaries.push(summarise(id, &raw));
            }
        }
        summaries.sort_by_key(|summary| summary.id);
        Ok(Mailbox {
            dir: dir.to_owned(),
            summaries: Mutex::new(summaries),
        })
    }

    /// Keeps a message. When this returns, it is in its file.
    pub(crate) fn add(&self, raw: &[u8]) -> io::Result<()> {
        let id = Uuid::now_v7();
        let partial = self.dir.join(format!("{id}.partial"));
        std::fs::write(&partial, raw)?;
        std::fs::rename(&partial, self.path(id))?;
        let summary = summarise(id, raw);
        self.summaries().push(summary);
        Ok(())
    }

    /// How many there are, and `limit` of them from the `start`-th newest on.
    pub(crate) fn list(&self, start: usize, limit: usize) -> (usize, Vec<Summary>) {
        let summaries = self.summaries();
        (
            summaries.len(),
            summaries.iter().rev().skip(start).take(limit).cloned().collect(),
        )
    }

    pub(crate) fn full(&self, id: Uuid) -> Option<Full> {
        let raw = self.raw(id)?;
        let message = parse(&raw);
        let body =
            |pick: fn(&Message<'_>) -> Option<String>| message.as_ref().and_then(pick).unwrap_or_default();
        let date = body(|message| Some(message.date()?.to_rfc3339()));
        let text = body(|message| Some(message.body_text(0)?.into_owned()));
        let html = body(|message| Some(message.body_html(0)?.into_owned()));
        Some(Full {
            summary: summarise(id, &raw),
            date,
            text,
            html,
        })
    }

    /// The message as it came.
    pub(crate) fn raw(&self, id: Uuid) -> Option<Vec<u8>> {
        std::fs::read(self.path(id)).ok()
    }

    /// Deletes the messages with these ids, or all of them when there is none.
    pub(crate) fn delete(&self, ids: &[Uuid]) -> io::Result<()> {
        let mut summaries = self.summaries();
        let doomed = |summary: &Summary| ids.is_empty() || ids.contains(&summary.id);
        for summary in summaries.iter().filter(|summary| doomed(summary)) {
            std::fs::remove_file(self.path(summary.id))?;
        }
        summaries.retain(|summary| !doomed(summary));
        Ok(())
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.dir.join(format!("{id}.eml"))
    }

    fn summaries(&self) -> MutexGuard<'_, Vec<Summary>> {
        self.summaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(raw: &[u8]) -> Option<Message<'_>> {
    MessageParser::default().parse(raw)
}

fn summarise(id: Uuid, raw: &[u8]) -> Summary {
    let message = parse(raw).unwrap_or_default();
    Summary {
        id,
        message_id: message.message_id().unwrap_or_default().to_owned(),
        read: false,
        from: people(message.from()).into_iter().next().unwrap_or_default(),
        to: people(message.to()),
        cc: people(message.cc()),
        bcc: people(message.bcc()),
        reply_to: people(message.reply_to()),
        subject: message.subject().unwrap_or_default().to_owned(),
        created: created(id),
        tags: Vec::new(),
        size: raw.len(),
        attachments: message.attachment_count(),
        snippet: snippet(&message),
    }
}

fn people(address: Option<&Address<'_>>) -> Vec<Person> {
    let person = |addr: &Addr<'_>| Person {
        name: addr.name().unwrap_or_default().to_owned(),
        address: addr.address().unwrap_or_default().to_owned(),
    };
    address
        .map(|address| address.iter().map(person).collect())
        .unwrap_or_default()
}

/// RFC 3339, to the millisecond, from the id.
fn created(id: Uuid) -> String {
    let (seconds, nanoseconds) = id
        .get_timestamp()
        .map(|timestamp| timestamp.to_unix())
        .unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap_or_default());
    let at = at.ok().and_then(|at| at.replace_nanosecond(nanoseconds).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

/// The first words of the text.
fn snippet(message: &Message<'_>) -> String {
    let text = message.body_text(0).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(250).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From: Plumbline <no-reply@plumbline.localhost>\r\nTo: =?utf-8?q?Zo=C3=AB?= <zoe@example.com>\r\n\
        Subject: =?utf-8?b?WW91ciBvcmRlciDigJMgdGhhbmtz?=\r\nMessage-ID: <42@plumbline>\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nDear Zo=C3=AB,\r\n\r\nthanks.\r\n\
        --x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Dear Zo\u{eb}</p>\r\n--x--\r\n";

    #[test]
    fn a_message_is_read_as_mailpit_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(dir.path()).unwrap();
        mailbox.add(MAIL.as_bytes()).unwrap();
        let (total, list) = mailbox.list(0, 50);
        assert_eq!((total, list.len()), (1, 1));
        assert_eq!(list[0].message_id, "42@plumbline");
        assert_eq!(list[0].subject, "Your order \u{2013} thanks");
        assert_eq!(
            list[0].to,
            [Person {
                name: "Zo\u{eb}".into(),
                address: "zoe@example.com".into()
            }]
        );
        assert_eq!(list[0].snippet, "Dear Zo\u{eb}, thanks.");
        let full = mailbox.full(list[0].id).unwrap();
        assert!(full.text.starts_with("Dear Zo\u{eb},"), "{}", full.text);
        assert!(full.html.contains("<p>Dear Zo\u{eb}</p>"), "{}", full.html);
        let json = serde_json::to_value(&list[0]).unwrap();
        assert_eq!(json["From"]["Address"], "no-reply@plumbline.localhost");
        assert!(json["ID"].is_string() && json["Created"].as_str().is_some_and(|text| text.ends_with('Z')));
    }

    #[test]
    fn messages_survive_a_restart_and_the_newest_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(dir.path()).unwrap();
        for number in 1..=3 {
            mailbox
                .add(format!("Subject: {number}\r\n\r\n").as_bytes())
                .unwrap();
        }
        let again = Mailbox::open(dir.path()).unwrap();
        let subjects = |start, limit| -> Vec<String> {
            again
                .list(start, limit)
                .1
                .into_iter()
                .map(|summary| summary.subject)
                .collect()
        };
        assert_eq!(subjects(0, 50), ["3", "2", "1"]);
        assert_eq!(subjects(1, 1), ["2"]);
        again.delete(&[]).unwrap();
        assert_eq!(Mailbox::open(dir.path()).unwrap().list(0, 50).0, 0);
    }
}
