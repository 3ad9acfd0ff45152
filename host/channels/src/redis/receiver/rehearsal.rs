//! All that a bridge asks of a server, once, on a queue that nobody uses: a message is put there, taken, kept, given back,
//! taken again and finished. A server that answers to a ping may refuse any of it.

use bytes::Bytes;
use redis::{Cmd, Value};

use crate::layer::{LayerError, ReceiverId};
use crate::redis::cluster::Shared;
use crate::redis::dialect::{Append, Dialect};
use crate::redis::receiver::shard::{lapsed, millis};
use crate::redis::receiver::shelf::{Shelf, beside};
use crate::redis::script::Script;
use crate::redis::server::Server;

/// Seconds for which keys stay that a rehearsal could not take away.
const EXPIRY: u64 = 60;

/// A rehearsal on one server.
struct Rehearsal<'a> {
    shared: &'a Shared,
    server: &'a Server,
    /// The scratch queue's name, without the prefix.
    name: String,
    shelf: Shelf,
}

/// Rehearses on `server`; an error says at which step.
pub(crate) async fn rehearse<D: Dialect>(
    shared: &Shared,
    server: &Server,
) -> Result<(), LayerError> {
    let name = format!("djangobot.rehearsal.{}", uuid::Uuid::new_v4().simple());
    let queue = format!("{}{name}", shared.config.prefix);
    let rehearsal = Rehearsal {
        shared,
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
    // Ends the lease.
    rehearsal.give_back::<D>().await
}

/// Whether another program uses the keys for something else in which the readers of `queue` keep what they know.
pub(crate) async fn look_at_keys(server: &Server, queue: &str) -> Result<(), LayerError> {
    let base = beside(queue);
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
        let member = D::seal(&self.shared.codec, b"rehearsal");
        let append = Append {
            config: &self.shared.config,
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

    /// Gives the member that was taken.
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
                "a message was put on a scratch queue and was not there: {answer:?}"
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

/// Says at which step an error came.
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
