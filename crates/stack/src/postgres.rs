//! PostgreSQL: one database per process with one, an owner role for its migrations and a runtime role that
//! can do no more than its tables' grants say.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use crate::architecture::{Architecture, owner_role, runtime_role};
use crate::child::Spawner;
use crate::nobody::{RunAs, nobody, reachable, reachable_copy};
use crate::secrets::{Account, Secrets};

/// The superuser of a native server.
pub(crate) const SUPERUSER: &str = "postgres";

/// Where PostgreSQL is and who may do everything there.
#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    pub(crate) host: String,
    pub(crate) port: u16,
    superuser: String,
    password: String,
    /// `None`: somebody else runs it.
    pub(crate) native: Option<Native>,
}

/// The files of a server that we run ourselves.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    installation: PathBuf,
    home: PathBuf,
    fsync: bool,
    run_as: Option<RunAs>,
}

impl Postgres {
    /// A server of our own in `dir`, from the unpacked `installation`.
    pub(crate) fn native(
        installation: &Path,
        dir: &Path,
        port: u16,
        secrets: &Secrets,
        fsync: bool,
    ) -> anyhow::Result<Postgres> {
        let run_as = if rustix::process::geteuid().is_root() {
            Some(nobody()?)
        } else {
            None
        };
        let (installation, home) = match run_as {
            None => (installation.to_owned(), dir.join("postgres")),
            Some(_) => (reachable_copy(installation)?, reachable(&dir.join("postgres"))),
        };
        Ok(Postgres {
            host: "127.0.0.1".to_owned(),
            port,
            superuser: SUPERUSER.to_owned(),
            password: secrets.password(Account::Postgres(SUPERUSER)).to_owned(),
            native: Some(Native {
                installation,
                home,
                fsync,
                run_as,
            }),
        })
    }

    /// A server that is there already, by the URL of a superuser.
    pub(crate) fn external(url: &str) -> anyhow::Result<Postgres> {
        let config = Config::from_str(url).context("the PostgreSQL URL is not valid")?;
        let Some(Host::Tcp(host)) = config.get_hosts().first() else {
            bail!("the PostgreSQL URL has no host");
        };
        Ok(Postgres {
            host: host.clone(),
            port: config.get_ports().first().copied().unwrap_or(5432),
            superuser: config
                .get_user()
                .context("the PostgreSQL URL has no user")?
                .to_owned(),
            password: String::from_utf8_lossy(config.get_password().unwrap_or_default()).into_owned(),
            native: None,
        })
    }

    pub(crate) fn superuser_url(&self, database: &str) -> String {
        self.url(&self.superuser, &self.password, database)
    }

    pub(crate) fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{password}@{}:{}/{database}",
            self.host, self.port
        )
    }

    /// Waits until it answers. Recovery after a crash may take a while.
    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<Client> {
        let mut config = Config::from_str(&self.superuser_url(database))?;
        config
            .connect_timeout(Duration::from_secs(5))
            .application_name("stack");
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Makes roles and databases, or brings them to what the architecture says.
    pub(crate) async fn provision(
        &self,
        architecture: &Architecture,
        secrets: &Secrets,
    ) -> anyhow::Result<()> {
        let work = async {
            let server = self.connect("postgres").await?;
            // Without this, every role may connect to every database.
            server
                .batch_execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC")
                .await?;
            for (database, _) in architecture.databases() {
                self.provision_database(&server, database, secrets).await?;
            }
            anyhow::Ok(())
        };
        let limit = Duration::from_secs(30);
        timeout(limit, work)
            .await
            .context("PostgreSQL did not answer in 30 s")?
            .context("cannot make roles and databases")
    }

    async fn provision_database(
        &self,
        server: &Client,
        database: &str,
        secrets: &Secrets,
    ) -> anyhow::Result<()> {
        let (owner, runtime) = (owner_role(database), runtime_role(database));
        for role in [&owner, &runtime] {
            let exists = !server
                .query("SELECT 1 FROM pg_roles WHERE rolname = $1", &[role])
                .await?
                .is_empty();
            let verb = if exists { "ALTER" } else { "CREATE" };
            let password = secrets.password(Account::Postgres(role));
            let sql = format!(
                r#"{verb} ROLE "{role}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD '{}'"#,
                password.replace('\'', "''"),
            );
            server.batch_execute(&sql).await?;
        }
        if server
            .query("SELECT 1 FROM pg_database WHERE datname = $1", &[&database])
            .await?
            .is_empty()
        {
            server
                .batch_execute(&format!(r#"CREATE DATABASE "{database}" OWNER "{owner}""#))
                .await?;
        }
        let grants = format!(
            r#"REVOKE ALL ON DATABASE "{database}" FROM PUBLIC;
               GRANT CONNECT ON DATABASE "{database}" TO "{runtime}";"#
        );
        server.batch_execute(&grants).await?;
        let inside = self.connect(database).await?;
        let schema = format!(
            r#"REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO "{runtime}";"#
        );
        inside.batch_execute(&schema).await?;
        Ok(())
    }
}

impl Native {
    /// Makes the data folder, the first time. A folder that an interrupted `initdb` left is made again.
    pub(crate) async fn prepare(&self, spawner: &Spawner, password: &str, log: &Path) -> anyhow::Result<()> {
        let data = self.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        crate::files::make_dir(&self.home)?;
        let fresh = self.home.join("fresh");
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).context("cannot remove an unfinished PostgreSQL data folder")?;
        }
        let password_file = self.home.join("password");
        crate::files::write_private(&password_file, password.as_bytes())?;
        if let Some(RunAs { uid, gid }) = self.run_as {
            for path in [&self.home, &password_file] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid))
                    .context("cannot give PostgreSQL's folder to nobody")?;
            }
        }
        let mut initdb = self.command("initdb");
        initdb
            .arg("--pgdata")
            .arg(&fresh)
            .arg("--pwfile")
            .arg(&password_file);
        initdb.args([
            "--username",
            SUPERUSER,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--no-sync",
            "--no-instructions",
        ]);
        initdb.args([
            "--locale-provider",
            "builtin",
            "--builtin-locale",
            "C.UTF-8",
            "--locale",
            "C",
        ]);
        spawner
            .run("initdb", initdb, log, Duration::from_secs(60))
            .await?;
        std::fs::remove_file(&password_file).context("cannot remove initdb's password file")?;
        std::fs::rename(&fresh, &data).context("cannot move PostgreSQL's data folder to its place")
    }

    /// The server itself, to be run as a direct child. SIGINT stops it fast and cleanly.
    pub(crate) fn server(&self, port: u16) -> Command {
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        let mut set = |name: &str, value: &str| {
            server.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "127.0.0.1");
        set("port", &port.to_string());
        // TCP only: a socket's path would have to be short and reachable by everyone.
        set("unix_socket_directories", "");
        set("max_connections", "200");
        set("timezone", "UTC");
        set("log_timezone", "UTC");
        set("log_line_prefix", "%m [%p] %q%u@%d %a ");
        if !self.fsync {
            set("fsync", "off");
            set("full_page_writes", "off");
        }
        server
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.installation.join("bin").join(program));
        // `initdb` refuses to run where it may not read the current folder.
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/");
        if let Some(RunAs { uid, gid }) = self.run_as {
            command.uid(uid).gid(gid);
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_server_is_taken_from_its_url() {
        let postgres = Postgres::external("postgres://root:secret@db.internal:6432/postgres").unwrap();
        assert_eq!(
            postgres.superuser_url("app"),
            "postgres://root:secret@db.internal:6432/app"
        );
        assert!(Postgres::external("postgres://db.internal").is_err());
    }
}
