//! Leases on Redis servers. Each lies on the server that its name is hashed to.

use std::sync::{Arc, LazyLock};

use redis::Value;

use crate::layer::LayerError;
use crate::lease::{
    CLAIM, Claim, Holder, Lease, RELEASE, claim_arguments, key, read, release_arguments,
};
use crate::redis::script::Script;
use crate::redis::server::Server;
use crate::redis::sharding::consistent_hash;

static CLAIM_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(CLAIM));
static RELEASE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(RELEASE));

/// Claims a lease.
pub(crate) async fn claim(
    servers: &[Arc<Server>],
    prefix: &str,
    claim: &Claim,
) -> Result<Lease, LayerError> {
    let server = server_of(servers, &claim.name);
    let arguments = claim_arguments(claim, server.now().await?);
    let key = key(prefix, &claim.name);
    let fill = |cmd: &mut redis::Cmd| {
        cmd.arg(1).arg(&key).arg(&arguments);
    };
    let answer = server.script(&CLAIM_SCRIPT, &fill).await?;
    lease(server, answer, &claim.holder.id)?.ok_or_else(|| {
        server.unavailable("the server named no holder for a lease that was claimed".into())
    })
}

/// Gives a lease up, if `holder` has it.
pub(crate) async fn release(
    servers: &[Arc<Server>],
    prefix: &str,
    name: &str,
    holder: &Holder,
) -> Result<(), LayerError> {
    let key = key(prefix, name);
    let fill = |cmd: &mut redis::Cmd| {
        cmd.arg(1).arg(&key).arg(&release_arguments(holder));
    };
    let released = server_of(servers, name).script(&RELEASE_SCRIPT, &fill);
    released.await.map(drop)
}

/// Reads who holds a lease now.
pub(crate) async fn look(
    servers: &[Arc<Server>],
    prefix: &str,
    name: &str,
) -> Result<Option<Lease>, LayerError> {
    let server = server_of(servers, name);
    let mut cmd = redis::cmd("ZRANGE");
    cmd.arg(key(prefix, name)).arg(0).arg(-1).arg("WITHSCORES");
    lease(server, server.command(&cmd).await?, "")
}

fn server_of<'a>(servers: &'a [Arc<Server>], name: &str) -> &'a Server {
    &servers[consistent_hash(name, servers.len())]
}

/// Reads the member and the score of an answer. RESP2 has them flat, RESP3 in a pair.
fn lease(server: &Server, answer: Value, id: &str) -> Result<Option<Lease>, LayerError> {
    let answer = match answer {
        Value::Array(mut items) if matches!(items.first(), Some(Value::Array(_))) => {
            items.swap_remove(0)
        }
        answer => answer,
    };
    let items: Result<Vec<Value>, _> = redis::from_redis_value(answer);
    let unreadable = |error: redis::ParsingError| server.unavailable(error.to_string());
    let mut items = items.map_err(unreadable)?.into_iter();
    let (Some(member), Some(number)) = (items.next(), items.next()) else {
        return Ok(None);
    };
    let member: Vec<u8> = redis::from_redis_value(member).map_err(unreadable)?;
    let number: f64 = redis::from_redis_value(number).map_err(unreadable)?;
    Ok(read(&member, number, id))
}
