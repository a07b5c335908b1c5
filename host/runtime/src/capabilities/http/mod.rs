//! Outgoing HTTP (wasi:http/outgoing-handler), to granted origins only. wasmtime-wasi-http
//! implements the interface; this module provides its hooks: grants and call limits ([`Http`]),
//! sending ([`send`]) or answers given beforehand ([`answers`]), bounds on requests ([`requests`]) and
//! bodies ([`body`]), and what a delivery said and heard ([`transcript`]).

mod answers;
mod body;
mod codes;
mod grant;
mod requests;
mod send;
mod stand_ins;
mod transcript;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use tokio::sync::Semaphore;
use usher_event::{Delivery, Given, RequestSpan};
use wasmtime::component::Linker;
use wasmtime_wasi_http::p2::bindings::{self, LinkOptions};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
};

pub(crate) use answers::Answers;
pub use grant::{HttpGrant, HttpGrantError};
pub(crate) use send::{CONNECTIONS_DEFAULT, Client};
pub(crate) use stand_ins::StandIns;
pub use transcript::HttpCall;
pub use usher_outbound::{AddressRange, AddressRangeError, Origin, OriginError};

use crate::capability::{About, Capability, Grants, Has, View};
use crate::limits::{HTTP_FIELDS_MAX_BYTES, size};
use crate::meter::GuestClock;
use crate::plugin::Plugin;
use crate::text;
use grant::{NAME, Path};
use transcript::{Noted, Transcript};

/// How much of a refused URL an error quotes.
const ADDRESS_SHOWN_MAX_BYTES: usize = 128;
/// Up to this many grants, a denial quotes the complete `http` list to configure.
const GRANTS_SHOWN_MAX: usize = 8;

/// Buffer of an outgoing body: bytes per write, and writes held. Small, because a guest may have
/// hundreds of bodies, even without a grant.
const BODY_WRITE_MAX_BYTES: usize = 16 * 1024;
const BODY_WRITES_HELD_MAX: usize = 1;

/// Header of draft-ietf-httpapi-idempotency-key-header, which gateways support.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// One instance's outgoing HTTP.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    calls: Calls,
}

/// A plugin's outgoing HTTP.
pub(crate) struct Shared {
    plugin: Arc<Plugin>,
    grants: Vec<HttpGrant>,
    /// Whether it is granted at all.
    is_granted: bool,
    outlet: Outlet,
}

/// Where requests go.
#[derive(Clone)]
pub(crate) enum Outlet {
    /// To the network, where granted; first to what stands in for it.
    Network(Arc<Client>, Option<Arc<StandIns>>),
    /// To answers given beforehand, whatever the address.
    Answers(Arc<Answers>),
}

/// Where a request goes that may be sent.
enum Admitted {
    Network(Arc<Client>, HttpGrant),
    Answers(Arc<Answers>),
}

/// The calls of one instance.
struct Calls {
    shared: Arc<Shared>,
    calls_left: u64,
    /// The current delivery; set only if HTTP is granted.
    delivery: Option<Delivery>,
    /// Its calls that need an idempotency key, counted by method and URL.
    keyed: HashMap<(Method, String), u64>,
    /// Limits concurrent calls; a call holds a permit until its response body is dropped.
    slots: Arc<Semaphore>,
    /// What the current delivery was denied last.
    denied: Option<String>,
    /// Set if HTTP is granted and deliveries are recorded.
    transcript: Option<Transcript>,
}

impl Capability for Http {
    const ABOUT: &'static [About] = &[About {
        name: Some(NAME),
        interfaces: &["wasi:http/"],
        ability: "reaches the network, by HTTP",
        is_flag: false,
    }];

    type Service = Outlet;
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, grants: &Grants, outlet: Outlet) -> Shared {
        let (plugin, is_granted) = (plugin.clone(), grants.contains(NAME));
        Shared { plugin, grants: grants.http().to_vec(), is_granted, outlet }
    }

    fn new(shared: &Arc<Shared>, _: &Arc<GuestClock>) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(HTTP_FIELDS_MAX_BYTES);
        Self { ctx, calls: Calls::new(shared) }
    }

    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        let options = LinkOptions::default();
        bindings::http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, http)?;
        bindings::http::types::add_to_linker::<_, WasiHttp>(linker, &options.into(), http)?;
        requests::add_to_linker(linker, http)
    }

    /// Resets the call limit.
    fn begin(&mut self, delivery: &Delivery) {
        self.calls.begin(delivery);
    }

    fn record(&mut self, given: &mut Given) {
        if let Some(transcript) = &self.calls.transcript {
            transcript.record(given);
        }
    }
}

impl Http {
    /// Calls that the delivery has made.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.shared.plugin.limits.http_calls.saturating_sub(self.calls.calls_left)
    }

    /// Why the delivery's last request was refused by the host, if it was: now, or when it was recorded.
    pub(crate) fn refused(&self) -> Option<String> {
        let transcript = self.calls.transcript.as_ref();
        transcript.and_then(Transcript::refused).or_else(|| self.calls.denied.clone())
    }

    /// The requests of the delivery, where they are recorded.
    pub(crate) fn requests(&self) -> Vec<HttpCall> {
        self.calls.transcript.as_ref().map(Transcript::calls).unwrap_or_default()
    }
}

/// What wasmtime's implementation works on.
pub(crate) fn http<T: Has<Http>>(data: &mut T) -> WasiHttpCtxView<'_> {
    let View { capability: Http { ctx, calls }, table } = data.view();
    WasiHttpCtxView { ctx, table, hooks: calls }
}

impl Calls {
    fn new(shared: &Arc<Shared>) -> Self {
        let limits = &shared.plugin.limits;
        Self {
            calls_left: limits.http_calls,
            delivery: None,
            keyed: HashMap::new(),
            denied: None,
            slots: Arc::new(Semaphore::new(size(limits.http_concurrent_calls))),
            transcript: (shared.is_granted && shared.plugin.is_recorded()).then(Transcript::new),
            shared: shared.clone(),
        }
    }

    fn begin(&mut self, delivery: &Delivery) {
        self.calls_left = self.shared.plugin.limits.http_calls;
        self.denied = None;
        if let Some(transcript) = &mut self.transcript {
            transcript.begin(self.shared.plugin.limits.recording_bytes);
        }
        if self.shared.is_granted {
            self.delivery = Some(delivery.clone());
            self.keyed.clear();
        }
    }

    /// Adds an idempotency key to a request whose method is not safe (RFC 9110), so that the server
    /// recognises its repetition by another attempt. Keeps a key set by the guest.
    fn add_key(&mut self, request: &mut http::Request<WasiBody>) {
        let (Some(delivery), method) = (&self.delivery, request.method()) else { return };
        if method.is_safe() || request.headers().contains_key(IDEMPOTENCY_KEY) {
            return;
        }
        let address = request.uri().to_string();
        // The order of calls may differ between attempts, so count per method and URL.
        let nth = self.keyed.entry((method.clone(), address.clone())).or_default();
        *nth += 1;
        let key = delivery.idempotency_key(&[method.as_str(), &address, &nth.to_string()]);
        if let Ok(key) = HeaderValue::from_str(&key) {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
    }

    /// Checks that a request may be sent, charges the call limit, and returns where it goes.
    fn admit(&mut self, request: &http::Request<WasiBody>) -> Result<Admitted, String> {
        let uri = request.uri();
        let origin = Origin::of(uri).ok_or_else(|| {
            let shown = uri.to_string();
            let shown = text::escape(text::head(&shown, ADDRESS_SHOWN_MAX_BYTES));
            format!("{shown:?} is not an http or https address with a plain host and port")
        })?;
        let is_granted = self.shared.is_granted;
        let to = match &self.shared.outlet {
            Outlet::Network(client, stand_ins) => {
                let stand_ins = stand_ins.as_ref().filter(|_| is_granted);
                match stand_ins.and_then(|one| one.to(request.method().as_str(), uri)) {
                    Some(answers) => Admitted::Answers(answers),
                    None => {
                        let grant = self.grant(&origin, uri.path())?.clone();
                        Admitted::Network(Arc::clone(client), grant)
                    }
                }
            }
            Outlet::Answers(answers) => {
                if !is_granted {
                    self.grant(&origin, uri.path())?;
                }
                Admitted::Answers(Arc::clone(answers))
            }
        };
        if self.delivery.as_ref().is_some_and(|delivery| delivery.is_dry_run) {
            return Err("this is a dry run: nothing is sent".to_owned());
        }
        let calls = self.shared.plugin.limits.http_calls;
        self.calls_left = self
            .calls_left
            .checked_sub(1)
            .ok_or_else(|| format!("one delivery may make {calls} http calls"))?;
        Ok(to)
    }

    /// The first grant that covers a path of an origin.
    fn grant(&self, origin: &Origin, path: &str) -> Result<&HttpGrant, String> {
        let Shared { plugin, grants, .. } = &*self.shared;
        let deny = |what: &str, grant: &str| {
            let kind = format!("http to {origin}");
            let what = format!("{kind}{what}");
            Err(plugin.deny_one_of(NAME, &kind, &what, "grants", &remedy(grants, grant)))
        };
        let of_origin = || grants.iter().filter(|grant| grant.origin == *origin);
        if of_origin().next().is_none() {
            return deny("", &origin.to_string());
        }
        let mut is_ambiguous = false;
        for grant in of_origin() {
            match grant.covers(path) {
                Path::Below => return Ok(grant),
                Path::Elsewhere => {}
                Path::Ambiguous => is_ambiguous = true,
            }
        }
        let path = text::escape(text::head(path, ADDRESS_SHOWN_MAX_BYTES));
        if is_ambiguous {
            let what = format!("{path} (with dots or slashes that servers read differently)");
            return deny(&what, &origin.to_string());
        }
        deny(&path, &format!("{origin}{path}"))
    }
}

/// The configuration that adds `more` to the existing grants.
fn remedy(grants: &[HttpGrant], more: &str) -> String {
    let granted = grants.iter().map(written);
    let all: Vec<_> = granted.chain([format!("{more:?}")]).collect();
    match all.get(..=GRANTS_SHOWN_MAX) {
        Some(_) => format!("{more:?} to the list http"),
        None => format!("http = [{}]", all.join(", ")),
    }
}

/// A grant in the configuration's syntax.
fn written(grant: &HttpGrant) -> String {
    if grant.addresses.is_empty() {
        return format!("\"{grant}\"");
    }
    let addresses: Vec<_> = grant.addresses.iter().map(|range| format!("\"{range}\"")).collect();
    format!("{{ url = \"{grant}\", addresses = [{}] }}", addresses.join(", "))
}

/// A response, and the future that drives its body.
type Exchange = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Calls {
    fn send_request(
        &mut self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _transmitted: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, Error>> + Send> {
        let refused = |noted: Option<Noted>, words: String| {
            let error = Error::InternalError(Some(words));
            if let Some(noted) = noted {
                noted.failed(&error);
            }
            Box::new(std::future::ready(Err(error)))
        };
        let admitted = self.admit(&request);
        let slot = self.slots.clone().try_acquire_owned();
        if admitted.is_ok() && slot.is_ok() {
            self.add_key(&mut request);
        }
        let noted = self.transcript.as_ref().map(|transcript| transcript.note(&request));
        let to = match admitted {
            Ok(to) => to,
            Err(words) => {
                self.denied = Some(words.clone());
                return refused(noted, words);
            }
        };
        let Ok(slot) = slot else {
            let slots = self.shared.plugin.limits.http_concurrent_calls;
            return refused(noted, format!("a plugin may make {slots} http calls at a time"));
        };
        let plugin = self.shared.plugin.clone();
        let options = options.unwrap_or_default();
        let parent = self.delivery.as_ref().and_then(|delivery| delivery.span.as_ref());
        let redactor = &self.shared.plugin.redactor;
        let span =
            parent.map(|parent| RequestSpan::begin(parent, &request, |url| redactor.redact(url)));
        if let Some(span) = &span {
            span.tell(request.headers_mut());
        }
        Box::new(async move {
            let told = noted.clone();
            let sent = match to {
                Admitted::Network(client, grant) => {
                    client.send(request, &grant, options, &plugin, slot, told).await
                }
                Admitted::Answers(answers) => answers.send(request, &plugin, slot, told).await,
            };
            match (&sent, noted) {
                (Ok((response, _)), Some(noted)) => noted.answered(response),
                (Err(error), Some(noted)) => noted.failed(error),
                (_, None) => {}
            }
            if let Some(span) = span {
                let status = sent.as_ref().map(|(response, _)| response.status());
                span.end(status.map_err(|error| plugin.redactor.redact(error.to_string())));
            }
            sent
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_WRITE_MAX_BYTES
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_WRITES_HELD_MAX
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::Limits;
    use crate::testing::{delivery, limited};

    #[test]
    fn a_body_that_nobody_reads_holds_little() {
        let mut http = calls(Grants::default(), Limits::default());
        // wasmtime buffers one write more than configured.
        let writes = http.p2_outgoing_body_buffer_chunks() + 1;
        assert!(writes * http.p2_outgoing_body_chunk_size() <= 32 * 1024);
    }

    fn request() -> http::Request<WasiBody> {
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        http::Request::get("http://127.0.0.1:9/").body(body).unwrap()
    }

    fn calls(grants: Grants, limits: Limits) -> Calls {
        Calls::new(&Arc::new(Http::share(
            &limited(limits),
            &grants,
            Outlet::Network(Arc::default(), None),
        )))
    }

    fn granted(limits: Limits) -> Calls {
        let grant = "http://127.0.0.1:9".parse().unwrap();
        calls(Grants::default().with_http(vec![grant]), limits)
    }

    #[test]
    fn calls_of_a_delivery_are_counted() {
        let mut http = granted(Limits { http_calls: 3, ..Limits::default() });
        for _ in 1..=3 {
            assert!(http.admit(&request()).is_ok());
        }
        let words = http.admit(&request()).err().unwrap();
        assert_eq!(words, "one delivery may make 3 http calls");
        http.begin(&delivery());
        assert!(http.admit(&request()).is_ok(), "the next delivery has its own");
    }

    #[test]
    fn calls_at_a_time_are_counted() {
        let mut http = granted(Limits { http_concurrent_calls: 2, ..Limits::default() });
        // Never polled: each holds its slot until dropped.
        let mut call = || http.send_request(request(), None, Box::new(std::future::ready(Ok(()))));
        let refused =
            |call: Box<dyn Future<Output = Result<Exchange, Error>> + Send>| match Box::into_pin(
                call,
            )
            .now_or_never()
            {
                Some(Err(Error::InternalError(words))) => words,
                _ => panic!("not refused"),
            };
        let (first, _second) = (call(), call());
        let words = "a plugin may make 2 http calls at a time";
        assert_eq!(refused(call()).as_deref(), Some(words));
        drop(first);
        let _third = call();
        assert_eq!(refused(call()).as_deref(), Some(words));
    }
}
