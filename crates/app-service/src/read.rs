//! Reading what is committed.

use chassis::Problem;
use diesel_async::AsyncPgConnection;

use crate::app::App;
use crate::call::Call;
use crate::trouble::Trouble;

/// Runs `query` on a connection of the pool, until the caller's deadline.
pub(crate) async fn read<T>(
    app: &App,
    call: &Call,
    query: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Trouble>,
) -> Result<T, Problem> {
    let reading = database::observed("read", Trouble::kind, app.pool.with(query));
    Ok(call.within(reading).await??)
}
