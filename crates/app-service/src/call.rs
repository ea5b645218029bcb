//! Who is calling, since when and until when: the part of a request that comes before its own content.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use chassis::Problem;
use identity::Caller;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::problems::{DEADLINE_EXCEEDED, INSUFFICIENT_SCOPE, UNAUTHENTICATED};

/// The gateway's signed word on who is calling.
const IDENTITY: &str = "x-plumbline-identity";
/// How many milliseconds the caller still waits.
const DEADLINE: &str = "x-request-deadline-ms";
/// The longest that a request may take, and what it has when nobody says.
const LONGEST: Duration = Duration::from_secs(10);

/// A request whose assertion has been verified. The caller may be anonymous: [`Call::known`] and [`Call::with_scope`]
/// tell.
pub(crate) struct Call {
    pub(crate) caller: Arc<Caller>,
    /// When the request arrived, in the microseconds that PostgreSQL keeps.
    pub(crate) at: OffsetDateTime,
    pub(crate) deadline: Instant,
}

impl Call {
    /// What a job of this process does, by itself: `actor` is `system:<job>`.
    pub(crate) fn by_job(actor: &str, limit: Duration) -> Call {
        Call {
            caller: Arc::new(Caller {
                principal: actor.to_owned(),
                scopes: Default::default(),
                email: None,
                expires_at: i64::MAX,
            }),
            at: microseconds(OffsetDateTime::now_utc()),
            deadline: Instant::now() + limit,
        }
    }

    /// How long the caller still waits.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Runs `work` until the caller's deadline.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Problem> {
        timeout_at(self.deadline, work)
            .await
            .map_err(|_| DEADLINE_EXCEEDED.because("nothing was changed"))
    }

    /// Refuses the anonymous.
    pub(crate) fn known(&self) -> Result<&Caller, Problem> {
        if self.caller.is_anonymous() {
            return Err(unauthenticated("this needs a bearer token"));
        }
        Ok(&self.caller)
    }

    /// Refuses callers without `scope`.
    pub(crate) fn with_scope(&self, scope: &'static str) -> Result<&Caller, Problem> {
        let caller = self.known()?;
        if !caller.has(scope) {
            return Err(INSUFFICIENT_SCOPE.problem().with("scope", scope));
        }
        Ok(caller)
    }

    fn of(request: &HttpRequest) -> Result<Call, Problem> {
        let app = request
            .app_data::<web::Data<App>>()
            .ok_or_else(|| Problem::internal(anyhow::anyhow!("the route has no application")))?;
        let mut assertions = request.headers().get_all(IDENTITY);
        // Two could be read differently by two readers; none means that the gateway was bypassed.
        let (Some(assertion), None) = (assertions.next(), assertions.next()) else {
            return Err(unauthenticated(
                "requests come through the gateway, with one assertion",
            ));
        };
        let assertion = assertion.to_str().unwrap_or_default();
        let caller = app.verifier.verify(assertion).map_err(|rejected| {
            tracing::warn!(%rejected, error.type = "unauthenticated", "refused an assertion");
            unauthenticated("the assertion is not valid")
        })?;
        Ok(Call {
            caller,
            at: microseconds(OffsetDateTime::now_utc()),
            deadline: Instant::now() + time_left(request),
        })
    }
}

impl FromRequest for Call {
    type Error = Problem;
    type Future = Ready<Result<Call, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Call::of(request))
    }
}

fn unauthenticated(detail: &'static str) -> Problem {
    UNAUTHENTICATED.because(detail)
}

/// How long the caller still waits, and no longer than a request may take.
pub(crate) fn time_left(request: &HttpRequest) -> Duration {
    request
        .headers()
        .get(DEADLINE)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(LONGEST, |left| Duration::from_millis(left).min(LONGEST))
}

fn microseconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(at.nanosecond() / 1_000 * 1_000)
        .unwrap_or(at)
}
