//! GitHub's webhooks as events, as the GitHub adapter document of the CloudEvents specification has
//! them (cloudevents/adapters/github.md).

use crate::pick::Picked;

/// The attributes of one kind of webhook. Pointers are relative to the body.
struct Row {
    /// `X-GitHub-Event`
    event: &'static str,
    /// What comes behind the event's name in `type`.
    types: &'static [&'static str],
    /// Empty: GitHub itself.
    source: &'static str,
    /// Empty: none.
    subject: &'static str,
    /// The first that there is.
    time: &'static [&'static str],
}

const ACTION: &[&str] = &["/action"];
const NONE: &[&str] = &[];
const REPOSITORY: &str = "/repository/url";

const fn row(
    event: &'static str,
    types: &'static [&'static str],
    source: &'static str,
    subject: &'static str,
    time: &'static [&'static str],
) -> Row {
    Row { event, types, source, subject, time }
}

#[rustfmt::skip]
const ROWS: [Row; 44] = [
    row("check_run", ACTION, REPOSITORY, "/check_run/id",
        &["/check_run/completed_at", "/check_run/started_at"]),
    row("check_suite", ACTION, REPOSITORY, "/check_suite/id", &["/check_suite/updated_at"]),
    row("commit_comment", ACTION, "/comment/url", "/comment/id", &["/comment/updated_at"]),
    row("content_reference", ACTION, REPOSITORY, "/content_reference/id", NONE),
    row("create", &["/ref_type"], REPOSITORY, "/ref", NONE),
    row("delete", &["/ref_type"], REPOSITORY, "/ref", NONE),
    row("deploy_key", ACTION, REPOSITORY, "/key/id", &["/key/deleted_at", "/key/created_at"]),
    row("deployment", NONE, REPOSITORY, "/deployment/id", &["/deployment/updated_at"]),
    row("deployment_status", &["/deployment_status/state"], "/deployment/url",
        "/deployment_status/url", &["/deployment_status/updated_at"]),
    row("fork", NONE, REPOSITORY, "/forkee/url", &["/forkee/created_at"]),
    row("github_app_authorization", NONE, "/sender/url", "", NONE),
    row("gollum", NONE, REPOSITORY, "", NONE),
    row("installation", ACTION, "/installation/account/url", "/installation/id",
        &["/installation/updated_at"]),
    row("installation_repositories", ACTION, "/installation/account/url", "/installation/id",
        &["/installation/updated_at"]),
    row("issue_comment", ACTION, "/issue/url", "/comment/id", &["/comment/updated_at"]),
    row("issues", ACTION, REPOSITORY, "/issue/number", &["/issue/updated_at"]),
    row("label", ACTION, REPOSITORY, "/label/name", NONE),
    row("marketplace_purchase", ACTION, "/sender/url", "/marketplace_purchase/account/login",
        &["/effective_date"]),
    row("member", ACTION, REPOSITORY, "/member/login", NONE),
    row("membership", &["/scope", "/action"], "/team/url", "/member/login", NONE),
    row("meta", ACTION, REPOSITORY, "/hook_id", &["/hook/updated_at"]),
    row("milestone", ACTION, REPOSITORY, "/milestone/number", &["/milestone/updated_at"]),
    row("org_block", ACTION, "/organization/url", "/blocked_user/login", NONE),
    row("organization", ACTION, "/organization/url", "/membership/user/login", NONE),
    row("page_build", NONE, REPOSITORY, "/build/url", &["/build/updated_at"]),
    row("project", ACTION, REPOSITORY, "/project/id", &["/project/updated_at"]),
    row("project_card", ACTION, REPOSITORY, "/project_card/id", &["/project_card/updated_at"]),
    row("project_column", ACTION, REPOSITORY, "/project_column/id",
        &["/project_column/updated_at"]),
    row("public", NONE, "/repository/owner/url", "/repository/name", &["/repository/updated_at"]),
    row("pull_request", ACTION, REPOSITORY, "/number", &["/pull_request/updated_at"]),
    row("pull_request_review", ACTION, "/pull_request/url", "/review/id",
        &["/review/submitted_at"]),
    row("pull_request_review_comment", ACTION, "/pull_request/url", "/comment/id",
        &["/pull_request/updated_at"]),
    row("push", NONE, REPOSITORY, "/ref", NONE),
    row("registry_package", ACTION, REPOSITORY, "/registry_package/html_url",
        &["/registry_package/updated_at"]),
    row("release", ACTION, REPOSITORY, "/release/id",
        &["/release/published_at", "/release/created_at"]),
    row("repository", ACTION, "/repository/owner/url", "/repository/name",
        &["/repository/updated_at"]),
    row("repository_import", NONE, "/repository/owner/url", "/repository/name",
        &["/repository/updated_at"]),
    row("repository_vulnerability_alert", ACTION, REPOSITORY, "/alert/id", NONE),
    row("security_advisory", ACTION, "", "/security_advisory/ghsa_id",
        &["/security_advisory/updated_at"]),
    row("star", ACTION, REPOSITORY, "", &["/starred_at"]),
    row("status", NONE, REPOSITORY, "/sha", &["/updated_at"]),
    row("team", ACTION, REPOSITORY, "/team/id", &["/updated_at"]),
    row("team_add", ACTION, REPOSITORY, "/team/id", NONE),
    row("watch", ACTION, REPOSITORY, "", NONE),
];

/// Of events that the document does not name.
const OTHER: Row = row("", ACTION, REPOSITORY, OF_OTHER, NONE);

/// Their subject: the id of what has the event's name.
const OF_OTHER: &str = "/EVENT/id";

/// Where such an event comes from, if not from a repository.
const OTHER_SOURCES: [&str; 4] =
    ["/organization/url", "/installation/account/url", "/enterprise/html_url", "/sender/url"];

/// The attributes of a request.
pub(crate) struct Github {
    pub(crate) ty: String,
    pub(crate) source: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) time: Option<String>,
}

impl Github {
    /// `event` is `X-GitHub-Event`.
    pub(crate) fn of(event: &str, picked: &Picked<'_>) -> Self {
        let row = ROWS.iter().find(|row| row.event == event).unwrap_or(&OTHER);
        let name = match event {
            "issues" => "issue",
            "installation_repositories" => "installation_repository",
            other => other,
        };
        let details = row.types.iter().filter_map(|pointer| picked.at(pointer));
        let ty = details.fold(format!("com.github.{name}"), |ty, detail| format!("{ty}.{detail}"));
        let of_commit = || picked.at("/comment/commit_id").map(|commit| format!("/{commit}"));
        let suffix = if event == "commit_comment" { of_commit() } else { None };
        let source = match row.source {
            "" => Some("github.com".to_owned()),
            // Where all users are, as the buyer is the subject.
            pointer if event == "marketplace_purchase" => picked
                .at(pointer)
                .map(|url| url.rsplit_once('/').map_or(url.clone(), |(all, _)| all.to_owned())),
            pointer => picked.at(pointer).map(|url| url + &suffix.unwrap_or_default()),
        };
        let elsewhere = || OTHER_SOURCES.iter().find_map(|pointer| picked.at(pointer));
        Self {
            ty,
            source: source.or_else(elsewhere),
            subject: match row.subject {
                "" => None,
                OF_OTHER => picked.at(&format!("/{event}/id")),
                pointer => picked.at(pointer),
            },
            time: row.time.iter().find_map(|pointer| picked.at(pointer)),
        }
    }
}
