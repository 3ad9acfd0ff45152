//! Questions: the events that take answers on channels of their own. They are in memory, bounded, and their addresses
//! are in the state too.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use djangobot_slack::{Ack, ResponseUrl};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::bridge::inbound::answers::answer::Kind;
use crate::bridge::inbound::answers::pending::PendingAnswer;
use crate::bridge::message_key::MessageKey;
use crate::journal::{Journal, JournalError};

/// How long Slack takes answers at an address.
pub(super) const LIFETIME: Duration = Duration::from_secs(30 * 60);
/// How many answers Slack takes at one address.
pub(super) const MAX_USES: usize = 5;
/// The most questions, of about a kilobyte each. Beyond it the oldest are forgotten.
const MAX_QUESTIONS: usize = 20_000;

/// The name of a question: the last part of its reply channel.
pub(super) type Token = String;

/// An event that takes answers.
///
/// Its answers are posted one after another: while `is_busy`, one is being posted, and `waiting` holds those behind it,
/// in the order in which the app gave them.
pub(super) struct Question {
    pub(super) kind: Kind,
    /// `djangobot.id`.
    pub(super) id: Box<str>,
    /// When it came, in Unix seconds.
    pub(super) at: f64,
    /// The acknowledgement for which Slack waits; `None` once it is given.
    pub(super) ack: Option<PendingAck>,
    pub(super) addresses: Vec<AnswerAddress>,
    /// Answers that wait behind the one that is being posted.
    pub(super) waiting: VecDeque<PendingAnswer>,
    /// Whether an answer is being posted.
    pub(super) is_busy: bool,
}

/// An acknowledgement that waits for the app's answer.
pub(super) struct PendingAck {
    pub(super) ack: Ack,
    /// The signal that the event is safe. An empty acknowledgement waits for it, because Slack then redelivers nothing.
    pub(super) safe: oneshot::Receiver<()>,
}

impl PendingAck {
    /// Gives an empty acknowledgement once the event is safe; none if it is abandoned.
    pub(super) async fn confirm(self) {
        if self.safe.await.is_ok() {
            self.ack.confirm();
        }
    }
}

/// An address for answers to an event, and the answers that were begun there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AnswerAddress {
    #[serde(flatten)]
    pub(super) url: ResponseUrl,
    /// The keys of the answers that were begun. Slack may have them, so each counts as one of the [`MAX_USES`].
    pub(super) begun: Vec<MessageKey>,
}

/// All questions.
#[derive(Default)]
pub(super) struct Questions {
    by_token: HashMap<Token, Question>,
    /// When each question expires, the oldest first. A question that was forgotten before stays in this list until
    /// then.
    order: VecDeque<(Instant, Token)>,
    /// The questions for whose acknowledgement Slack waits, by the moment at which it gets an empty one.
    deadlines: BTreeSet<(Instant, Token)>,
}

impl Questions {
    /// Reads the questions that an earlier run left in the file that `journal` writes.
    ///
    /// # Errors
    ///
    /// Fails if the file can't be read.
    pub(super) async fn open(journal: &Journal, now: f64) -> Result<Self, JournalError> {
        let oldest = now - LIFETIME.as_secs_f64();
        let rows = journal
            .write(move |database| read(database, oldest))
            .await?;
        let mut questions = Self::default();
        for (token, question) in rows {
            let age = Duration::try_from_secs_f64(now - question.at).unwrap_or_default();
            questions.insert(token, question, LIFETIME.saturating_sub(age), None);
        }
        Ok(questions)
    }

    /// Takes in a question that expires after `lifetime`, and whose acknowledgement is due at `deadline`. Gives those
    /// that had to make room.
    pub(super) fn insert(
        &mut self,
        token: Token,
        question: Question,
        lifetime: Duration,
        deadline: Option<Instant>,
    ) -> Vec<(Token, Question)> {
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, token.clone()));
        }
        self.order
            .push_back((Instant::now() + lifetime, token.clone()));
        self.by_token.insert(token, question);
        let mut forgotten = Vec::new();
        while self.by_token.len() > MAX_QUESTIONS
            && let Some((_, oldest)) = self.order.pop_front()
        {
            forgotten.extend(self.by_token.remove_entry(&oldest));
        }
        forgotten
    }

    pub(super) fn get_mut(&mut self, token: &str) -> Option<&mut Question> {
        self.by_token.get_mut(token)
    }

    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    /// When the next acknowledgement is due, or the next question expires.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let end = self.order.front().map(|(at, _)| *at);
        deadline.into_iter().chain(end).min()
    }

    /// Takes the acknowledgements that are due now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PendingAck> {
        let mut due = Vec::new();
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, token)) = self.deadlines.pop_first()
        {
            let question = self.by_token.get_mut(&token);
            due.extend(question.and_then(|question| question.ack.take()));
        }
        due
    }

    /// Forgets questions that have expired, except those of which an answer is being posted.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, token)) = self.order.pop_front()
        {
            let is_busy = self.by_token.get(&token).is_some_and(|it| it.is_busy);
            // A post that is under way still needs its question, to report the outcome and to go on with the next
            // answer.
            if is_busy {
                self.order.push_back((now + Duration::from_secs(60), token));
            } else {
                self.by_token.remove(&token);
            }
        }
    }
}

/// The row of a question, as it is written.
pub(super) struct QuestionRow {
    token: Token,
    at: f64,
    id: Box<str>,
    is_dialog: bool,
    addresses: Vec<u8>,
}

impl QuestionRow {
    /// The row of `question`.
    pub(super) fn of(token: &str, question: &Question) -> Self {
        Self {
            token: token.to_owned(),
            at: question.at,
            id: question.id.clone(),
            is_dialog: question.kind == Kind::Dialog,
            // This can't fail: texts and keys have a JSON form.
            addresses: serde_json::to_vec(&question.addresses).unwrap_or_default(),
        }
    }

    /// Writes the row in the place of an older one.
    ///
    /// # Errors
    ///
    /// Fails if the disk does not take it.
    pub(super) fn write(&self, database: &Connection) -> rusqlite::Result<()> {
        database
            .prepare_cached(
                "INSERT OR REPLACE INTO answers (token, at, event, dialog, addresses) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![self.token, self.at, self.id, self.is_dialog, self.addresses])
            .map(drop)
    }
}

/// Deletes the rows of questions that came before `oldest`, and those of `tokens`.
///
/// # Errors
///
/// Fails if the disk keeps them.
pub(super) fn forget(database: &Connection, oldest: f64, tokens: &[Token]) -> rusqlite::Result<()> {
    database.execute("DELETE FROM answers WHERE at < ?1", [oldest])?;
    let mut query = database.prepare_cached("DELETE FROM answers WHERE token = ?1")?;
    for token in tokens {
        query.execute([token])?;
    }
    Ok(())
}

/// Reads the rows of questions that came since `oldest`, the oldest first.
fn read(database: &Connection, oldest: f64) -> rusqlite::Result<Vec<(Token, Question)>> {
    forget(database, oldest, &[])?;
    let mut query = database.prepare(
        "SELECT token, at, event, dialog, addresses FROM
            (SELECT * FROM answers ORDER BY at DESC LIMIT ?1) ORDER BY at",
    )?;
    let mut rows = query.query([MAX_QUESTIONS as u64])?;
    let mut questions = Vec::new();
    while let Some(row) = rows.next()? {
        let addresses: Vec<u8> = row.get(4)?;
        // A row that another version wrote in another form is left out.
        let Ok(addresses) = serde_json::from_slice(&addresses) else {
            continue;
        };
        let is_dialog: bool = row.get(3)?;
        let id: String = row.get(2)?;
        let question = Question {
            kind: if is_dialog { Kind::Dialog } else { Kind::Click },
            id: id.into(),
            at: row.get(1)?,
            ack: None,
            addresses,
            waiting: VecDeque::new(),
            is_busy: false,
        };
        questions.push((row.get(0)?, question));
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    fn question(at: f64, url: &str) -> Question {
        Question {
            kind: Kind::Dialog,
            id: "Ev1".into(),
            at,
            ack: None,
            addresses: vec![AnswerAddress {
                url: ResponseUrl {
                    url: url.to_owned(),
                    channel: Some("C1".into()),
                    ..ResponseUrl::default()
                },
                begun: vec![MessageKey::new()],
            }],
            waiting: VecDeque::new(),
            is_busy: false,
        }
    }

    #[tokio::test]
    async fn addresses_are_there_after_a_restart_until_their_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (now, old) = (10_000.0, 10_000.0 - LIFETIME.as_secs_f64() - 1.0);
        let rows = [("new", now - 60.0), ("old", old)];
        {
            let journal = State::open(folder.path()).unwrap().journal().unwrap();
            for (token, at) in rows {
                let row = QuestionRow::of(token, &question(at, token));
                journal.write(move |it| row.write(it)).await.unwrap();
            }
        }
        let journal = State::open(folder.path()).unwrap().journal().unwrap();
        let mut questions = Questions::open(&journal, now).await.unwrap();
        assert_eq!(questions.len(), 1);
        let kept = questions.get_mut("new").unwrap();
        assert_eq!((&*kept.id, kept.kind), ("Ev1", Kind::Dialog));
        assert_eq!(kept.addresses[0].url.url, "new");
        assert_eq!(kept.addresses[0].begun.len(), 1);
        let end = questions.next_due().unwrap() - Instant::now();
        assert!(end <= LIFETIME - Duration::from_secs(60), "{end:?}");
    }

    #[test]
    fn the_oldest_questions_make_room_and_others_expire() {
        let mut questions = Questions::default();
        for n in 0..MAX_QUESTIONS {
            let question = question(0.0, "u");
            let gone = questions.insert(n.to_string(), question, LIFETIME, None);
            assert!(gone.is_empty());
        }
        let gone = questions.insert("last".into(), question(0.0, "u"), LIFETIME, None);
        let gone: Vec<_> = gone.iter().map(|(token, _)| token.as_str()).collect();
        assert_eq!((gone, questions.len()), (vec!["0"], MAX_QUESTIONS));
        questions.get_mut("1").unwrap().is_busy = true;
        questions.expire(Instant::now() + 2 * LIFETIME);
        assert_eq!(questions.len(), 1, "one is being answered");
    }
}
