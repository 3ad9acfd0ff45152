//! A call that was admitted, as the methods get it.

use serde_json::{Map, Value};

use crate::core::Core;
use crate::lock::lock;
use crate::speakers::web_api::arguments::Arguments;
use crate::state::access::Speaker;
use crate::state::workspace::Workspace;

pub(crate) use crate::speakers::web_api::refusal::Refusal;

pub(crate) type Body = Map<String, Value>;

/// A call that was admitted.
pub(crate) struct Request<'a> {
    pub(super) core: &'a Core,
    pub(super) speaker: Speaker,
    pub(super) arguments: &'a Arguments,
    /// Remarks that go with the answer.
    pub(super) warnings: Vec<&'static str>,
}

impl Request<'_> {
    /// The user that the caller's token speaks for.
    pub(crate) fn user(&self, workspace: &Workspace) -> usize {
        match self.speaker {
            Speaker::Bot => workspace.bot,
            // An app's own methods ask for no user.
            Speaker::Installer | Speaker::App => workspace.installer,
        }
    }
}

/// Refuses a list that a token of an org-wide app asks for without saying of which workspace.
pub(crate) fn of_team(request: &Request<'_>) -> Result<(), Refusal> {
    let is_org_wide = lock(&request.core.access).org_wide;
    let team = request.arguments.text("team_id")?;
    match (is_org_wide, team) {
        (false, _) => Ok(()),
        (true, None) => Err(Refusal {
            messages: vec!["[ERROR] missing required field: team_id".to_owned()],
            ..Refusal::from("missing_argument")
        }),
        (true, Some(team)) if *team == *lock(&request.core.workspace).team.id => Ok(()),
        (true, Some(_)) => Err("team_not_found".into()),
    }
}

/// An object's fields.
pub(crate) fn fields<const N: usize>(fields: [(&str, Value); N]) -> Body {
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
