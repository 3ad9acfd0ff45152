//! The calls of the Web API: listed, awaited, and answered as is prescribed.

use bytes::Bytes;

use crate::lock::lock;
use crate::speakers::control::handle::Control;
use crate::state::access::Answer;
use crate::state::journal::Call;

impl Control {
    /// The calls that have come, oldest first: of one method, or all.
    pub fn calls(&self, method: Option<&str>) -> Vec<Call> {
        self.core.journal.calls(method)
    }

    /// Waits until at least `count` calls of a method have been answered since the last clearing; these calls.
    pub async fn wait_for_calls(&self, method: &str, count: usize) -> Vec<Call> {
        let look = || {
            let mut calls = self.calls(Some(method));
            calls.retain(|call| !call.answer.is_null());
            Some(calls).filter(|calls| calls.len() >= count)
        };
        self.core.journal.wait(look).await
    }

    /// The content of a file that was uploaded.
    pub fn file(&self, id: &str) -> Option<Bytes> {
        lock(&self.core.files).get(id)?.content.clone()
    }

    /// Forgets the calls that have come.
    pub fn clear_calls(&self) {
        self.core.journal.clear_calls();
    }

    /// Prescribes how the next calls of a method are answered; `*` stands for all methods, `websocket` for the
    /// handshake of a socket, and `upload` for the upload of a file's content. Answers that were prescribed before come
    /// first.
    pub fn answer(&self, method: &str, answer: Answer) {
        lock(&self.core.access).answer(method, answer);
    }

    /// Removes all prescribed answers.
    pub fn clear_answers(&self) {
        self.keep_answers(|_| false);
    }

    /// Removes the prescribed answers that `keep` rejects, in one step.
    pub fn keep_answers(&self, keep: impl Fn(&Answer) -> bool) {
        lock(&self.core.access).keep_answers(keep);
    }

    /// Sets the scopes that all tokens of the workspace have, as the `x-oauth-scopes` header gives them.
    pub fn set_scopes(&self, scopes: &[&str]) {
        lock(&self.core.access).scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    }

    /// Sets the scopes that app-level tokens have.
    pub fn set_app_scopes(&self, scopes: &[&str]) {
        lock(&self.core.access).app_scopes =
            scopes.iter().map(|scope| (*scope).to_owned()).collect();
    }

    /// Lets all tokens that `oauth.v2.access` has given out so far expire now.
    pub fn expire_tokens(&self) {
        lock(&self.core.access).rotation.expire();
    }

    /// Lets every call with this token fail from now on, with `token_revoked`, `account_inactive` or the like.
    pub fn revoke(&self, token: &str, error: &str) {
        lock(&self.core.access).revoke(token, error);
    }
}
