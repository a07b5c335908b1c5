//! The OpenAPI document, derived from the routes and the types. `docs/openapi.json` is a copy
//! of it for people and tools; a test compares the two.

use utoipa::PartialSchema as _;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Header, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi,
    OpenApiBuilder, Paths, Ref, RefOr, Required, Response, ResponseBuilder, Schema, Server,
};

use crate::problem::{PROBLEM_JSON, Problem, REFUSALS, Refusal};
use crate::routes::{self, AT_LEAST, Method, Route, SEQUENCE_HEADER};
use utoipa::ToSchema as _;

/// The name of the security scheme.
const TOKEN: &str = "token";

fn bearer() -> SecurityScheme {
    let described = "A token of `usher tokens new`; the requirement names its scope. Not asked for \
                     as long as there are no tokens.";
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(described));
    SecurityScheme::Http(scheme.build())
}

type Named = Vec<(String, RefOr<Schema>)>;

/// The document, as JSON.
///
/// # Errors
/// Never in practice: every part of it is a string, a number or a list of them.
pub fn document() -> Result<String, serde_json::Error> {
    let mut named = vec![(Problem::name().into_owned(), Problem::schema())];
    let mut paths = Paths::new();
    for route in routes::ALL {
        let method = match route.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Delete => HttpMethod::Delete,
            Method::Options => HttpMethod::Options,
        };
        paths.add_path_operation(route.path, vec![method], operation(route, &mut named));
    }
    let refusals = REFUSALS.iter().map(|refusal| (refusal.name, response(refusal)));
    let components = ComponentsBuilder::new()
        .schemas_from_iter(named)
        .responses_from_iter(refusals)
        .security_scheme(TOKEN, bearer())
        .build();
    let info = InfoBuilder::new()
        .title("Usher")
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(
            LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
        ))
        .description(Some(
            "Publish events, and look at what became of them. Without tokens the API is open, and \
             listens on loopback only; requests with a foreign Host or Origin header are refused.",
        ))
        .build();
    let document: OpenApi = OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("http://127.0.0.1:7171")]))
        .paths(paths)
        .components(Some(components))
        .build();
    document.to_pretty_json().map(|json| json + "\n")
}

fn operation(route: &Route, named: &mut Named) -> Operation {
    let at_least = route.is_on_every_node.then(at_least);
    let parameters = path_parameters(route.path).chain((route.parameters)()).chain(at_least);
    let mut operation = OperationBuilder::new()
        .operation_id(Some(route.id))
        .summary(Some(route.summary))
        .description(route.description)
        .parameters(Some(parameters));
    if let Some(scope) = route.scope.as_str() {
        operation = operation.security(SecurityRequirement::new(TOKEN, [scope]));
    }
    if let Some(body) = route.body {
        let filled = RequestBodyBuilder::new()
            .description(Some(body.description))
            .required(Some(Required::True));
        let filled = body.content.iter().fold(filled, |filled, (media_type, schema)| {
            filled.content(*media_type, ContentBuilder::new().schema(Some(schema(named))).build())
        });
        operation = operation.request_body(Some(filled.build()));
    }
    let success = route.success;
    let content = ContentBuilder::new().schema(Some((success.schema)(named))).build();
    let done = ResponseBuilder::new()
        .description(success.description)
        .content(success.media_type, content);
    let done = match route.is_on_every_node {
        true => done.header(SEQUENCE_HEADER, sequence_header()),
        false => done,
    };
    operation = operation.response(success.status.to_string(), done.build());
    if let Some(status) = route.not_modified() {
        let unchanged = Response::new("If-None-Match has the digest.");
        operation = operation.response(status.to_string(), unchanged);
    }
    let refused = route.refusals().fold(operation, |operation, refusal| {
        operation.response(refusal.status.to_string(), Ref::from_response_name(refusal.name))
    });
    refused.build()
}

fn response(refusal: &Refusal) -> Response {
    let problem = Ref::from_schema_name(Problem::name());
    let response = ResponseBuilder::new()
        .description(refusal.description)
        .content(PROBLEM_JSON, ContentBuilder::new().schema(Some(problem)).build());
    if !refusal.is_retryable {
        return response.build();
    }
    let header = HeaderBuilder::new()
        .description(Some("Seconds to wait before trying again."))
        .schema(Some(u64::schema()))
        .build();
    response.header("Retry-After", header).build()
}

fn at_least() -> Parameter {
    let description = "Waits a while until the node has the event with this sequence, and refuses with 503 \
                       if it doesn't come.";
    ParameterBuilder::new()
        .name(AT_LEAST)
        .parameter_in(ParameterIn::Query)
        .description(Some(description))
        .schema(Some(u64::schema()))
        .build()
}

fn sequence_header() -> Header {
    let description = "The newest event of the log when this was read, or an older one.";
    HeaderBuilder::new().description(Some(description)).schema(Some(u64::schema())).build()
}

/// The parameters in braces.
fn path_parameters(path: &'static str) -> impl Iterator<Item = Parameter> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(move |name| {
        let (description, schema) = match name {
            "sequence" => ("The event's place in the log.", u64::schema()),
            "plugin" => ("The plugin's name.", String::schema()),
            "name" => ("The part of the subscription's name behind the slash.", String::schema()),
            "token" => ("The token's name.", usher_event::TokenName::schema()),
            "digest" => ("SHA-256 of the content.", usher_event::Digest::schema()),
            _ if path == routes::FLOW.path => (
                "Digits only: the sequence of any of its events. Otherwise a correlationid; of \
                 several flows with it, the newest is returned.",
                String::schema(),
            ),
            _ => ("The dead letter's id.", u64::schema()),
        };
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(schema))
            .build()
    })
}
