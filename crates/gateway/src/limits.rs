//! Which limit counts whom.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use identity::Caller;

use crate::limit::{Limiter, Quota};
use crate::refusal::Refusal;
use crate::route_file::RouteFile;
use crate::routes::Route;

/// Keys with a bucket of their own, in each limiter. Such a bucket takes some 20 to 40 bytes.
const KEYS: usize = 1 << 18;

pub(crate) struct Limits {
    address: Limiter,
    principal: Limiter,
    /// Of the routes that have their own, by route id.
    of_route: HashMap<String, Limiter>,
}

/// Proof that the client's address is within its limit.
pub(crate) struct Admitted(());

/// A caller who is within the limit of the route.
pub(crate) struct Counted(Arc<Caller>);

impl Counted {
    pub(crate) fn into_caller(self) -> Arc<Caller> {
        self.0
    }
}

impl Limits {
    pub(crate) fn new(file: &RouteFile) -> Limits {
        let limiter = |quota: Quota| Limiter::new(quota, KEYS);
        let own = |route: &Route| Some((route.id.clone(), limiter(route.limit?)));
        Limits {
            address: limiter(file.address_limit),
            principal: limiter(file.principal_limit),
            of_route: file.routes.iter().filter_map(own).collect(),
        }
    }

    pub(crate) fn address(&self, peer: IpAddr) -> Result<Admitted, Refusal> {
        self.address
            .admit(&network(peer))
            .map_err(Refusal::AddressLimit)?;
        Ok(Admitted(()))
    }

    /// An anonymous caller is nobody in particular: only the address limit counts it.
    pub(crate) fn principal(&self, route: &Route, caller: Arc<Caller>) -> Result<Counted, Refusal> {
        if !caller.is_anonymous() {
            let limiter = self.of_route.get(&route.id).unwrap_or(&self.principal);
            limiter
                .admit(&caller.principal)
                .map_err(Refusal::PrincipalLimit)?;
        }
        Ok(Counted(caller))
    }
}

/// What one client controls: an IPv4 address, or the /64 of an IPv6 address.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_one_key() {
        let rows = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ];
        for (peer, key) in rows {
            let parse = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(network(parse(peer)), parse(key), "{peer}");
        }
    }
}
