//! Where app-service is, and how it is known to be it.

use std::str::FromStr;

use http::Uri;
use http::uri::Authority;
use tls::ClientArgs;

/// Where app-service listens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "app-service")]
pub struct AppServiceArgs {
    /// Where app-service listens: one URL for each replica, http or https, separated by commas
    #[arg(
        long = "app-service-url",
        env = "APP_SERVICE_URL",
        value_name = "URL,…",
        value_delimiter = ',',
        required = true
    )]
    endpoints: Vec<Endpoint>,

    /// Name that app-service's certificate has to bear, and the Host of requests; the default is the URL's host. It is of use where
    /// URLs hold addresses
    #[arg(long = "app-service-name", env = "APP_SERVICE_NAME", value_name = "NAME", value_parser = name)]
    name: Option<String>,

    #[command(flatten)]
    pub(super) tls: ClientArgs<AppService>,
}

/// `APP_SERVICE_CA_FILE` and its companions.
pub(crate) struct AppService;

impl tls::Peer for AppService {
    const PREFIX: &'static str = "APP_SERVICE";
    const NAME: &'static str = "app-service";
}

/// One replica of app-service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `host:port`, as it is dialled.
    pub(super) authority: String,
    /// Without brackets.
    host: String,
    pub(super) tls: bool,
}

impl AppServiceArgs {
    #[cfg(test)]
    pub(super) fn at(url: &str) -> AppServiceArgs {
        AppServiceArgs {
            endpoints: vec![url.parse().unwrap()],
            name: None,
            tls: ClientArgs::default(),
        }
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The `Host` of requests to an endpoint.
    pub(super) fn host(&self, endpoint: usize) -> &str {
        self.name
            .as_deref()
            .unwrap_or(&self.endpoints[endpoint].authority)
    }

    /// The name that an endpoint's certificate has to bear.
    pub(super) fn server_name(&self, endpoint: usize) -> &str {
        self.name.as_deref().unwrap_or(&self.endpoints[endpoint].host)
    }

    /// Whether connections can be made with these settings.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.endpoints.iter().any(|endpoint| endpoint.tls) {
            let config = self.tls.client().config(tls::Verify::Full);
            return config
                .map(drop)
                .map_err(|error| format!("APP_SERVICE_URL is https: {error}"));
        }
        if self.tls.is_empty() {
            return Ok(());
        }
        Err("files for TLS to app-service are given, but APP_SERVICE_URL is not https".to_owned())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// From `http://host:port` or `https://host:port`; without a port it is 80 or 443.
    fn from_str(url: &str) -> Result<Endpoint, String> {
        let uri: Uri = url.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        let bare = uri.path() == "/" && uri.query().is_none() && !url.ends_with('?');
        let tls = match uri.scheme_str() {
            Some("http") => Some(false),
            Some("https") => Some(true),
            _ => None,
        };
        match (uri.authority(), tls) {
            (Some(authority), Some(tls)) if bare && !authority.as_str().contains('@') => {
                let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
                Ok(Endpoint {
                    authority: format!("{}:{port}", authority.host()),
                    host: authority.host().trim_matches(['[', ']']).to_owned(),
                    tls,
                })
            }
            _ => Err("it is not like http://host:port or https://host:port".to_owned()),
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    match text.parse::<Authority>() {
        Ok(authority) if authority.as_str() == authority.host() => Ok(text.to_owned()),
        _ => Err("it is not a host name".to_owned()),
    }
}
