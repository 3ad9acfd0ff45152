//! The search for the ids of conversations and users that an app named. Before a name is refused, Slack is asked for
//! its list.

use std::time::{Duration, Instant};

use djangobot_slack::Roster;
use djangobot_slack::method::{self, Method};
use djangobot_slack::roster::{Conversation, List, User};
use serde_json::{Map, Value};

use crate::bridge::outbound::post::call::{Call, Record};
use crate::bridge::outbound::post::caller::Caller;
use crate::bridge::outbound::post::destination::{
    Destination, is_certain, is_conversation, is_user,
};
use crate::bridge::outbound::post::patience::Patience;
use crate::bridge::outbound::post::send_error::SendError;
use crate::bridge::reply::SendFailure;
use crate::bridge::roster::Search;

/// How long a search waits for Slack's list, if the call is not possible without it.
const LIST_WAIT: Duration = Duration::from_secs(120);
/// How long a search waits for a list before the log says so.
const SLOW: Duration = Duration::from_secs(15);
/// The error if there is no such channel.
const NO_CHANNEL: &str = "channel_not_found";
/// The most candidates that a refusal lists if a name means several.
const NAMED: usize = 5;

/// The interpretation of texts that look like ids, and that the roster knows neither as ids nor as names.
///
/// A channel may be named "c3po", and an app may write it "C3PO". To load Slack's list before each call with such a
/// text would hold up all those with ids that are just new. So they are taken for ids first, and if Slack has no such
/// id, they are names, and the call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpretation {
    /// They are ids: Slack says whether it has them.
    Ids,
    /// They are names if Slack's list has them, and ids otherwise.
    Listed,
    /// They are names: Slack has no such ids.
    Names,
}

/// The state of the searches for one request.
#[derive(Debug)]
pub(super) struct Finder {
    pub(super) interpretation: Interpretation,
    /// Whether a text was taken for an id that may be a name.
    pub(super) has_guessed: bool,
    /// Whether a text that looks like an id turned out to be a name.
    pub(super) has_learnt: bool,
}

impl Finder {
    pub(super) fn new(interpretation: Interpretation) -> Self {
        Self {
            interpretation,
            has_guessed: false,
            has_learnt: false,
        }
    }

    /// Takes a text for an id, and notes that.
    fn guess(&mut self, id: &str) -> String {
        self.has_guessed = true;
        id.to_owned()
    }
}

impl Caller {
    /// The id of a conversation, if the roster knows it.
    pub(super) fn known(&self, destination: &Destination) -> Option<String> {
        known(self.roster.roster(), destination)
    }

    /// Finds the id of the conversation that an app named, for a call of `method`. Opens a direct message if it is not
    /// open.
    ///
    /// # Errors
    ///
    /// Fails if it can't be found or opened, with the outcome that says so, or without one after a stop.
    pub(super) async fn find_conversation(
        &self,
        named: &str,
        method: &Method,
        finder: &mut Finder,
        patience: &mut Patience,
    ) -> Result<String, SendError> {
        let destination = Destination::read(named);
        if let Some(id) = self.known(&destination) {
            return Ok(id);
        }
        match &destination {
            Destination::Conversation(id) => Ok(id.clone()),
            Destination::User(id) => self.open(id, patience).await,
            // A user whom the roster knows: nobody means a channel of that name.
            Destination::Either(id) if is_user(id) && self.roster.roster().user(id).is_some() => {
                self.open(id, patience).await
            }
            Destination::Either(text) => {
                if let Some(id) = self.look_for(text, method, finder, patience).await? {
                    finder.has_learnt = true;
                    return Ok(id);
                }
                let id = finder.guess(text);
                match is_user(&id) {
                    true => self.open(&id, patience).await,
                    false => Ok(id),
                }
            }
            Destination::Name(name) => self.find_channel(name, method, patience).await,
            Destination::Handle(_) => {
                let user = self.find_user(named, finder, patience).await?;
                match known(self.roster.roster(), &Destination::User(user.clone())) {
                    Some(im) => Ok(im),
                    None => self.open(&user, patience).await,
                }
            }
        }
    }

    /// Searches for the channel of a name that looks like an id and that the roster does not know.
    async fn look_for(
        &self,
        name: &str,
        method: &Method,
        finder: &Finder,
        patience: &mut Patience,
    ) -> Result<Option<String>, SendError> {
        let wait = match finder.interpretation {
            Interpretation::Ids if is_certain(name) => return Ok(None),
            Interpretation::Ids => self.roster.patience(),
            Interpretation::Listed => LIST_WAIT,
            Interpretation::Names => {
                let found = self.find_channel(name, method, patience).await;
                return match found {
                    Ok(id) => Ok(Some(id)),
                    // The caller has Slack's own error about the id, which says more.
                    Err(SendError::Failed(refusal)) if refusal.error == NO_CHANNEL => Ok(None),
                    Err(error) => Err(error),
                };
            }
        };
        let look = |roster: &Roster| roster.find_conversation(name).map(|it| it.id().to_owned());
        let searched = self.search(List::Conversations, wait, look, patience);
        match searched.await? {
            Search::Found(id) => Ok(Some(id)),
            Search::Absent | Search::Unlisted(_) => Ok(None),
        }
    }

    /// Finds the id of the user whom an app named.
    ///
    /// # Errors
    ///
    /// Fails if it can't be found, with the outcome that says so, or without one after a stop.
    pub(super) async fn find_user(
        &self,
        named: &str,
        finder: &mut Finder,
        patience: &mut Patience,
    ) -> Result<String, SendError> {
        match Destination::read(named) {
            Destination::User(id) => Ok(id),
            Destination::Either(text) | Destination::Name(text) | Destination::Handle(text) => {
                if let Some(user) = user_known(self.roster.roster(), &text) {
                    return Ok(user.id().to_owned());
                }
                if finder.interpretation == Interpretation::Ids
                    && is_user(&text)
                    && is_certain(&text)
                {
                    return Ok(finder.guess(&text));
                }
                let id = self.find_by_handle(&text, patience).await?;
                finder.has_learnt |= is_user(&text) && id != text;
                Ok(id)
            }
            Destination::Conversation(id) => Err(SendFailure::new(
                "user_not_found",
                format!("{id} is the id of a conversation, and not of a user."),
            )
            .into()),
        }
    }

    /// Finds the channel of a name.
    async fn find_channel(
        &self,
        name: &str,
        method: &Method,
        patience: &mut Patience,
    ) -> Result<String, SendError> {
        // A call that Slack takes with a name need not wait for the list.
        let (takes_names, wait) = match takes_names(method) {
            true => (true, self.roster.patience()),
            false => (false, LIST_WAIT),
        };
        let look = |roster: &Roster| roster.find_conversation(name);
        let searched = self.search(List::Conversations, wait, look, patience);
        let why = match searched.await? {
            Search::Found(found) => return Ok(found.id().to_owned()),
            Search::Absent => None,
            Search::Unlisted(why) => Some(why),
        };
        let roster = self.roster.roster();
        let found = roster.conversations_named(name);
        if found.len() > 1 {
            let named = list(&found, |it: &Conversation| {
                format!("{} (#{})", it.id(), it.name())
            });
            return Err(ambiguous(&format!("#{name}"), "channels", &named).into());
        }
        match why {
            // The list is not complete, and Slack takes the name itself.
            Some(_) if takes_names => Ok(format!("#{name}")),
            Some(why) => Err(SendFailure::new(
                NO_CHANNEL,
                format!("djangobot knows no channel #{name}, and Slack's list is not complete: {why}. Use the channel's id."),
            )
            .into()),
            None => Err(SendFailure::new(
                NO_CHANNEL,
                format!(
                    "There is no channel #{name} among the {} that the bot sees, by a list that Slack gave just now. The bot sees private channels once it is invited.",
                    roster.len().conversations
                ),
            )
            .into()),
        }
    }

    /// Finds the user of a handle or another name.
    async fn find_by_handle(
        &self,
        handle: &str,
        patience: &mut Patience,
    ) -> Result<String, SendError> {
        let look = |roster: &Roster| user_known(roster, handle);
        let searched = self.search(List::Users, LIST_WAIT, look, patience);
        let why = match searched.await? {
            Search::Found(user) => return Ok(user.id().to_owned()),
            Search::Absent => None,
            Search::Unlisted(why) => Some(why),
        };
        let roster = self.roster.roster();
        let found = roster.users_named(handle);
        if found.len() > 1 {
            let named = list(&found, |user: &User| {
                let name = [user.real_name(), user.display_name()]
                    .into_iter()
                    .find(|name| !name.is_empty())
                    .unwrap_or("no other name");
                format!("{} (@{}, {name})", user.id(), user.name())
            });
            return Err(ambiguous(&format!("@{handle}"), "users", &named).into());
        }
        if is_user(handle) {
            // Slack says whether it has such an id.
            return Ok(handle.to_owned());
        }
        let detail = match why {
            Some(why) => format!(
                "djangobot knows no user @{handle}, and Slack's list is not complete: {why}. Use the user's id."
            ),
            None => format!(
                "There is no user @{handle} among the {} that the bot sees, by a list that Slack gave just now.",
                roster.len().users
            ),
        };
        Err(SendFailure::new("user_not_found", detail).into())
    }

    /// Searches the roster, for at most `wait` and the rest of the message's time.
    async fn search<T>(
        &self,
        list: List,
        wait: Duration,
        look: impl Fn(&Roster) -> Option<T>,
        patience: &mut Patience,
    ) -> Result<Search<T>, SendError> {
        let (began, wait) = (Instant::now(), wait.min(patience.rest()));
        let search = tokio::time::timeout(wait, self.roster.search(list, look));
        let mut search = std::pin::pin!(search);
        let soon = tokio::time::timeout(SLOW, &mut search);
        let searched = match self.wait(soon).await? {
            Ok(searched) => searched,
            Err(_) => {
                tracing::warn!(
                    at_most_s = wait.as_secs(),
                    "a message for Slack waits for Slack's list of {}, because its destination is not known",
                    list.name()
                );
                self.wait(search).await?
            }
        };
        patience.count_wait(began);
        Ok(searched.unwrap_or_else(|_| {
            let seconds = began.elapsed().as_secs();
            Search::Unlisted(format!("it did not come within {seconds} s"))
        }))
    }

    /// Opens the direct message with a user.
    async fn open(&self, user: &str, patience: &mut Patience) -> Result<String, SendError> {
        let unreadable = || {
            let detail = format!("Slack opened a conversation with {user}, but gave no id of it.");
            SendFailure::new("unreadable_answer", detail)
        };
        let method = method::get("conversations.open").ok_or_else(unreadable)?;
        let arguments = Map::from_iter([("users".to_owned(), Value::from(user))]);
        let mut call = Call::new(method, None, arguments);
        // Boxed, because an attempt's future is large, and would be part of that of each search.
        let mut record = Record::untracked(&self.outbox);
        let answer = Box::pin(self.attempt(&mut call, &mut record, patience)).await?;
        let id = answer.pointer("/channel/id").and_then(Value::as_str);
        let id = id.ok_or_else(unreadable)?;
        // Asked for, so that the next message to this user finds it in the roster.
        self.roster.roster().want(id);
        Ok(id.to_owned())
    }
}

/// The id of a conversation, if the roster knows it. An id that it knows goes before a name that looks like one.
fn known(roster: &Roster, destination: &Destination) -> Option<String> {
    let im = |user: &str| roster.im_of(user).map(|im| im.id().to_owned());
    let named = |name: &str| {
        let found = roster.find_conversation(name);
        found.map(|found| found.id().to_owned())
    };
    match destination {
        Destination::Conversation(id) => Some(id.clone()),
        Destination::User(id) => im(id),
        Destination::Either(id) if is_conversation(id) && roster.conversation(id).is_some() => {
            Some(id.clone())
        }
        Destination::Either(id) if is_user(id) && roster.user(id).is_some() => im(id),
        Destination::Either(name) | Destination::Name(name) => named(name),
        Destination::Handle(handle) => user_known(roster, handle).and_then(|user| im(user.id())),
    }
}

/// A user whom the roster knows, by id or by name.
fn user_known(roster: &Roster, named: &str) -> Option<User> {
    roster.user(named).or_else(|| roster.find_user(named))
}

/// Whether `error` may mean that Slack does not have a conversation or user of the given id.
pub(super) fn is_about_id(error: &str) -> bool {
    let is_about_it = ["channel", "user"].iter().any(|it| error.contains(it));
    let says_no = ["not_found", "invalid", "no_"];
    error == "invalid_arguments" || is_about_it && says_no.iter().any(|it| error.contains(it))
}

/// Whether a method takes the name of a channel in the place of its id.
fn takes_names(method: &Method) -> bool {
    matches!(
        method.name,
        "chat.postMessage" | "chat.postEphemeral" | "chat.scheduleMessage"
    )
}

fn ambiguous(name: &str, what: &str, named: &str) -> SendFailure {
    SendFailure::new(
        "ambiguous_name",
        format!("{name} may mean several {what}: {named}. Use the id of one of them."),
    )
}

fn list<T>(found: &[T], each: impl Fn(&T) -> String) -> String {
    let mut named: Vec<String> = found.iter().map(each).collect();
    named.sort_unstable();
    let more = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    let named = named.join(", ");
    match more {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
