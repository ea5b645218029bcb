//! The floor of a write: pgbench running the very SQL that app-service sends, without app-service.
//!
//! The statements are not written down here, where they would grow old. PostgreSQL logs some transactions of app-service with their
//! parameters; each becomes a pgbench script that repeats it with fresh ids. What pgbench leaves out is what app-service adds: HTTP,
//! JSON, decisions, and waiting for a connection. Its ids rise as UUIDv7 do, so that the indexes grow in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use uuid::Uuid;

/// One statement as PostgreSQL logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    /// `$1` and so on; `None` is NULL.
    pub(crate) parameters: Vec<Option<String>>,
}

/// The statements from BEGIN to COMMIT, both included.
pub(crate) type Transaction = Vec<Statement>;

/// Runs `act` while PostgreSQL logs every statement, and returns the transactions that it committed and that `wanted` picks.
pub(crate) async fn capture(
    superuser_url: &str,
    log: &Path,
    wanted: impl Fn(&Statement) -> bool,
    act: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Vec<Transaction>> {
    let mut conn = AsyncPgConnection::establish(superuser_url)
        .await
        .context("cannot connect as the superuser")?;
    let begun = std::fs::metadata(log)
        .with_context(|| format!("cannot find {}", log.display()))?
        .len();
    set_logging(&mut conn, "ALTER SYSTEM SET log_statement = 'all'").await?;
    let acted = act.await;
    set_logging(&mut conn, "ALTER SYSTEM RESET log_statement").await?;
    acted?;
    let text = std::fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let begun = usize::try_from(begun)?;
    let text = String::from_utf8_lossy(text.get(begun..).unwrap_or_default());
    Ok(transactions(&text)
        .into_iter()
        .filter(|transaction| transaction.iter().any(&wanted))
        .collect())
}

/// Returns when every session has had a moment to read it: they look when they are idle.
async fn set_logging(conn: &mut AsyncPgConnection, sql: &str) -> anyhow::Result<()> {
    conn.batch_execute(sql).await?;
    conn.batch_execute("SELECT pg_reload_conf()").await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// The committed transactions of a log whose lines begin with `%m [%p] `.
fn transactions(log: &str) -> Vec<Transaction> {
    let mut done = Vec::new();
    let mut open: BTreeMap<&str, Transaction> = BTreeMap::new();
    for entry in entries(log) {
        let Some((process, rest)) = process_of(entry.first) else {
            continue;
        };
        if let Some(parameters) =
            after(rest, "DETAIL:").and_then(|text| after_any(text, &["Parameters:", "parameters:"]))
        {
            if let Some(last) = open.get_mut(process).and_then(|statements| statements.last_mut()) {
                last.parameters = self::parameters(&format!("{parameters}{}", entry.more));
            }
            continue;
        }
        let Some(sql) = after(rest, "LOG:").and_then(sql_of) else {
            continue;
        };
        let statement = Statement {
            sql: format!("{sql}{}", entry.more),
            parameters: Vec::new(),
        };
        match statement.sql.trim().to_ascii_uppercase().as_str() {
            "BEGIN" | "BEGIN TRANSACTION" => drop(open.insert(process, vec![statement])),
            "COMMIT" => {
                if let Some(mut statements) = open.remove(process) {
                    statements.push(statement);
                    done.push(statements);
                }
            }
            "ROLLBACK" => drop(open.remove(process)),
            _ => {
                if let Some(statements) = open.get_mut(process) {
                    statements.push(statement);
                }
            }
        }
    }
    done
}

struct Entry<'a> {
    first: &'a str,
    /// What follows on lines that begin with a tab.
    more: String,
}

fn entries(log: &str) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), entries.last_mut()) {
            (Some(more), Some(entry)) => {
                entry.more.push('\n');
                entry.more.push_str(more);
            }
            _ => entries.push(Entry {
                first: line,
                more: String::new(),
            }),
        }
    }
    entries
}

/// `1234` and what follows of `2026-01-01 00:00:00.000 UTC [1234] …`.
fn process_of(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once('[')?;
    rest.split_once("] ")
}

fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark).map(|(_, rest)| rest.trim_start())
}

fn after_any<'a>(text: &'a str, marks: &[&str]) -> Option<&'a str> {
    marks
        .iter()
        .find_map(|mark| text.strip_prefix(mark))
        .map(str::trim_start)
}

/// The SQL of `statement: BEGIN` and of `execute s12: SELECT …`.
fn sql_of(message: &str) -> Option<&str> {
    if let Some(sql) = message.strip_prefix("statement: ") {
        return Some(sql);
    }
    message
        .strip_prefix("execute ")?
        .split_once(": ")
        .map(|(_, sql)| sql)
}

/// `$1 = 'it''s', $2 = NULL`.
fn parameters(text: &str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, value)) = rest.split_once(" = ") {
        if let Some(quoted) = value.strip_prefix('\'') {
            let (value, end) = unquote(quoted);
            found.push(Some(value));
            rest = &quoted[end..];
        } else {
            found.push(None);
            rest = value;
        }
    }
    found
}

/// The text up to the closing quote, and where what follows it begins.
fn unquote(quoted: &str) -> (String, usize) {
    let mut value = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '\'' {
            value.push(character);
            continue;
        }
        match characters.peek() {
            Some((_, '\'')) => {
                value.push('\'');
                characters.next();
            }
            _ => return (value, at + 1),
        }
    }
    (value, quoted.len())
}

/// A transaction as a pgbench script. UUIDs that are not `known` belong to this run of the transaction: each run puts others in their
/// place. `texts` are such UUIDs whose type is text. In the outbox, known ones are replaced as well: a second row for the same version of
/// an aggregate is refused there.
pub(crate) fn script(transaction: &Transaction, known: &BTreeSet<Uuid>, texts: &BTreeSet<String>) -> String {
    let mut fresh = Fresh::default();
    let mut lines = vec!["\\set n :n + 1".to_owned()];
    let mut behind_facts = false;
    for statement in transaction {
        let mut sql = statement.sql.split_whitespace().collect::<Vec<_>>().join(" ");
        let outbox = states_facts(statement);
        let mut replaced = |text: &str| match Uuid::parse_str(text) {
            Ok(id) if outbox || !known.contains(&id) => fresh.expression(id, texts.contains(text)),
            _ => literal(text),
        };
        // From the last, so that `$1` is not found in `$12`.
        for (index, value) in statement.parameters.iter().enumerate().rev() {
            let value = match value {
                None => "NULL".to_owned(),
                Some(text) => match elements(text) {
                    None => replaced(text),
                    Some(elements) => {
                        let kind = element_type(&elements);
                        let elements: Vec<String> = elements.iter().map(|text| replaced(text)).collect();
                        format!("ARRAY[{}]::{kind}[]", elements.join(", "))
                    }
                },
            };
            sql = sql.replace(&format!("${}", index + 1), &value);
        }
        // app-service sends its answer for the idempotency key behind the facts, without waiting for a reply between them.
        if outbox {
            lines.push("\\startpipeline".to_owned());
        }
        lines.push(format!("{sql};"));
        if behind_facts {
            lines.push("\\endpipeline".to_owned());
        }
        behind_facts = outbox;
    }
    lines.join("\n") + "\n"
}

/// Whether it inserts into the outbox.
pub(crate) fn states_facts(statement: &Statement) -> bool {
    statement.sql.to_ascii_lowercase().contains("insert into outbox")
}

/// The UUIDs that belong to one run of a transaction, numbered.
#[derive(Default)]
struct Fresh(Vec<Uuid>);

impl Fresh {
    /// A UUID that no other run of the client and no other client has: run, client, number.
    fn expression(&mut self, id: Uuid, text: bool) -> String {
        let number = self.0.iter().position(|each| *each == id).unwrap_or_else(|| {
            self.0.push(id);
            self.0.len() - 1
        });
        let kind = if text { "text" } else { "uuid" };
        format!(
            "lpad(to_hex((:n::bigint << 20) | (:client_id::bigint << 8) | {number}), 32, '0')::uuid::{kind}"
        )
    }
}

/// The elements of a one-dimensional array, as PostgreSQL writes it; `None` for anything else.
fn elements(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut found = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in inner.chars() {
        match character {
            _ if escaped => {
                escaped = false;
                found.last_mut()?.push(character);
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            // An object of JSON, not an array.
            ':' if !quoted => return None,
            _ => found.last_mut()?.push(character),
        }
    }
    Some(found)
}

/// The log does not say of which type a parameter is, and `unnest` has to know.
fn element_type(elements: &[String]) -> &'static str {
    let all = |kind: &dyn Fn(&str) -> bool| elements.iter().all(|element| kind(element));
    if all(&|element| Uuid::parse_str(element).is_ok()) {
        "uuid"
    } else if all(&|element| element.parse::<i64>().is_ok()) {
        "bigint"
    } else if all(&|element| element.starts_with("\\x")) {
        "bytea"
    } else {
        "text"
    }
}

/// pgbench takes `:name` for a variable, also within quotes.
fn literal(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace(':', "\\x3A");
    format!("E'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01 00:00:00.000 UTC [7] app_runtime@app app-service LOG:  statement: BEGIN
2026-01-01 00:00:00.000 UTC [8] app_runtime@app app-service LOG:  execute s1: SELECT 1
2026-01-01 00:00:00.000 UTC [7] app_runtime@app app-service LOG:  execute s2: INSERT INTO orders
\tVALUES ($1, $2, $3)
2026-01-01 00:00:00.000 UTC [7] app_runtime@app app-service DETAIL:  Parameters: $1 = '0198c0de-0000-7000-8000-000000000001', $2 = 'it''s 12:30', $3 = NULL
2026-01-01 00:00:00.000 UTC [7] app_runtime@app app-service LOG:  statement: COMMIT
2026-01-01 00:00:00.000 UTC [9] app_runtime@app app-service LOG:  statement: BEGIN
2026-01-01 00:00:00.000 UTC [9] app_runtime@app app-service LOG:  statement: ROLLBACK
";

    #[test]
    fn committed_transactions_are_read_from_the_log_with_their_parameters() {
        let found = transactions(LOG);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].len(), 3);
        assert_eq!(
            found[0][1].parameters,
            [
                Some("0198c0de-0000-7000-8000-000000000001".to_owned()),
                Some("it's 12:30".to_owned()),
                None,
            ]
        );
    }

    #[test]
    fn what_is_sent_behind_the_facts_waits_for_no_reply() {
        let statement = |sql: &str| Statement {
            sql: sql.to_owned(),
            parameters: Vec::new(),
        };
        let transaction = vec![
            statement("BEGIN"),
            statement("INSERT INTO outbox DEFAULT VALUES"),
            statement("SELECT 1"),
            statement("COMMIT"),
        ];
        let text = script(&transaction, &BTreeSet::new(), &BTreeSet::new());
        let expected = "\\set n :n + 1\nBEGIN;\n\\startpipeline\nINSERT INTO outbox DEFAULT VALUES;\nSELECT 1;\n\\endpipeline\nCOMMIT;\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_script_repeats_the_transaction_with_fresh_ids_and_no_variable_of_pgbench_by_accident() {
        let found = transactions(LOG);
        let text = script(&found[0], &BTreeSet::new(), &BTreeSet::new());
        assert!(text.contains("VALUES (lpad(to_hex((:n::bigint << 20)"), "{text}");
        assert!(text.contains(r"E'it''s 12\x3A30', NULL)"), "{text}");
        let statement = |sql: &str, parameter: &str| Statement {
            sql: sql.to_owned(),
            parameters: vec![Some(parameter.to_owned())],
        };
        let array = statement("SELECT unnest($1)", r#"{"\\x7b22","\\x00"}"#);
        let text = script(&vec![array], &BTreeSet::new(), &BTreeSet::new());
        assert!(text.contains(r"ARRAY[E'\\x7b22', E'\\x00']::bytea[]"), "{text}");
        let known = BTreeSet::from(["0198c0de-0000-7000-8000-000000000001".parse().unwrap()]);
        let text = script(&found[0], &known, &BTreeSet::new());
        assert!(
            text.contains("(E'0198c0de-0000-7000-8000-000000000001', "),
            "{text}"
        );
    }
}
