use diesel_migrations::EmbeddedMigrations;

use crate::args::CommandArgs;
use crate::migrate::migrate;

/// The verb that every owner of a database has.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Bring the database's tables up to this release, as their owner, and exit.
    ///
    /// Migrations only expand, so that the release before goes on working beside them: run it before the new release is started. Two at
    /// once are safe, and so is running it again.
    Migrate(CommandArgs),
}

impl Command {
    /// Does it, with the migrations of the process's own database.
    ///
    /// # Errors
    /// As [`migrate`].
    pub async fn run(self, migrations: EmbeddedMigrations) -> anyhow::Result<()> {
        let Command::Migrate(args) = self;
        let applied = migrate(&args, migrations).await?;
        tracing::info!(applied, "the database is up to date");
        Ok(())
    }
}
