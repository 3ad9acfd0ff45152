//! A rehearsal of everything that a bridge asks of a server, on a scratch queue that nobody uses.
//!
//! A message is put there, taken, kept, given back, taken again and finished. A server that answers to a ping may still
//! refuse any of these, because of its access rules for instance.

use bytes::Bytes;
use redis::{Cmd, Value};

use crate::layer::{LayerError, ReceiverId};
use crate::redis::backend::Backend;
use crate::redis::dialect::{AppendRequest, Dialect};
use crate::redis::receiver::shard::{lapsed, millis};
use crate::redis::receiver::shelf::{Shelf, own_keys_of};
use crate::redis::script::Script;
use crate::redis::server::Server;

/// How many seconds the keys of a rehearsal stay if it could not remove them.
const EXPIRY: u64 = 60;

/// A rehearsal on one server.
struct Rehearsal<'a> {
    backend: &'a Backend,
    server: &'a Server,
    /// The scratch queue's name, without the prefix.
    name: String,
    shelf: Shelf,
}

/// Rehearses on `server`. An error names the step that failed.
pub(crate) async fn rehearse<D: Dialect>(
    backend: &Backend,
    server: &Server,
) -> Result<(), LayerError> {
    let name = format!("djangobot.rehearsal.{}", uuid::Uuid::new_v4().simple());
    let queue = format!("{}{name}", backend.config.prefix);
    let rehearsal = Rehearsal {
        backend,
        server,
        shelf: Shelf::new(&queue, &ReceiverId("rehearsal".into())),
        name,
    };
    rehearsal.append::<D>().await?;
    rehearsal.take::<D>().await?;
    rehearsal.keep::<D>().await?;
    rehearsal.give_back::<D>().await?;
    let member = rehearsal.take::<D>().await?;
    rehearsal.finish::<D>(member).await?;
    // This ends the lease.
    rehearsal.give_back::<D>().await
}

/// Checks that no other program uses the keys of the readers of `queue` for something else.
pub(crate) async fn look_at_keys(server: &Server, queue: &str) -> Result<(), LayerError> {
    let base = own_keys_of(queue);
    for key in [base.clone(), format!("{base}!again")] {
        let mut cmd = redis::cmd("ZCOUNT");
        cmd.arg(key).arg(0).arg(0);
        server.command(&cmd).await?;
    }
    Ok(())
}

impl Rehearsal<'_> {
    async fn append<D: Dialect>(&self) -> Result<(), LayerError> {
        let now = self.server.now().await?;
        let member = D::seal(&self.backend.codec, b"rehearsal");
        let append = AppendRequest {
            config: &self.backend.config,
            queue: &self.shelf.queue,
            name: &self.name,
            capacity: 1,
            now: now as u64,
            scores: &[now],
            members: &[&member],
        };
        let fill = |cmd: &mut Cmd| D::write_append(cmd, &append);
        self.run("put on", D::append(), &fill).await.map(drop)
    }

    /// Takes the message; returns its member.
    async fn take<D: Dialect>(&self) -> Result<Bytes, LayerError> {
        let now = self.server.now().await?;
        let fill = |cmd: &mut Cmd| {
            self.shelf.write_keys(cmd, &[]);
            cmd.arg(self.until(now)).arg(1).arg(format!("{now:.6}"));
        };
        let answer = self.run("taken from", &D::scripts().take, &fill).await?;
        let member = match &answer {
            Value::Array(items) => items.first(),
            _ => None,
        };
        match member {
            Some(Value::BulkString(member)) => Ok(Bytes::copy_from_slice(member)),
            _ => Err(self.server.unavailable(format!(
                "a message that was put on a scratch queue was missing there: {answer:?}"
            ))),
        }
    }

    async fn keep<D: Dialect>(&self) -> Result<(), LayerError> {
        const STEP: &str = "kept by a reader of";
        let mut connection = self.server.shared_connection().await?;
        let now = self.server.now().await?;
        let others = lapsed(self.server, &mut connection, &self.shelf, now).await;
        let others = others.map_err(|error| at(STEP, error))?;
        let fill = |cmd: &mut Cmd| {
            self.shelf.write_keys(cmd, &others);
            cmd.arg(self.until(now)).arg(1).arg(millis(now));
        };
        self.run(STEP, &D::scripts().keep, &fill).await.map(drop)
    }

    async fn give_back<D: Dialect>(&self) -> Result<(), LayerError> {
        let now = self.server.now().await?;
        let fill = |cmd: &mut Cmd| {
            self.shelf.write_keys(cmd, &[]);
            cmd.arg(EXPIRY).arg(now as u64);
        };
        self.run("given back to", &D::scripts().give_back, &fill)
            .await
            .map(drop)
    }

    async fn finish<D: Dialect>(&self, member: Bytes) -> Result<(), LayerError> {
        let finished = self
            .server
            .command(&D::finish(&self.shelf.own, &[member]))
            .await;
        finished
            .map(drop)
            .map_err(|error| at("finished by a reader of", error))
    }

    async fn run(
        &self,
        step: &str,
        script: &Script,
        fill: &(dyn Fn(&mut Cmd) + Sync),
    ) -> Result<Value, LayerError> {
        let answer = self.server.script(script, fill).await;
        answer.map_err(|error| at(step, error))
    }

    fn until(&self, now: f64) -> u64 {
        millis(now) + EXPIRY * 1000
    }
}

/// Adds the failed step to a refusal.
fn at(step: &str, error: LayerError) -> LayerError {
    match error {
        LayerError::Refused {
            address,
            reason,
            kind,
        } => LayerError::Refused {
            address,
            reason: format!("a message can't be {step} a queue: {reason}"),
            kind,
        },
        other => other,
    }
}
