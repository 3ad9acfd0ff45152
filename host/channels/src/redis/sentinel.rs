//! Asks Sentinels which server is the master now.

use std::time::Duration;

use redis::{AsyncConnectionConfig, ProtocolVersion, RedisResult, Value};

use crate::config::{Endpoint, Host};
use crate::redis::client::{command, multiplexed};
use crate::redis::refusal::kind_of;
use crate::refusal::RefusalKind;

/// How long one Sentinel may take before the next is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why no master is known.
pub(crate) struct NoMaster {
    /// The answer of each Sentinel.
    pub(crate) reason: String,
    /// One of them refused our user or password.
    pub(crate) wants_login: bool,
}

/// Finds the address of the master called `name`. Each new connection asks again, so it follows a failover.
///
/// The Sentinels are asked in turn, and the first that knows a master decides. If that server was demoted meanwhile, it
/// refuses writes, which ends the connection.
pub(crate) async fn master(sentinels: &[Host], name: &str) -> Result<Endpoint, NoMaster> {
    let mut answers = Vec::with_capacity(sentinels.len());
    let mut wants_login = false;
    for sentinel in sentinels {
        match ask(sentinel, name).await {
            Ok(Some(master)) => return Ok(master),
            Ok(None) => answers.push(format!("{sentinel} knows no master {name:?}")),
            Err(error) => {
                wants_login |= kind_of(&error) == Some(RefusalKind::Credentials);
                answers.push(format!("{sentinel}: {error}"));
            }
        }
    }
    Err(NoMaster {
        reason: format!("no Sentinel names a master: {}", answers.join("; ")),
        wants_login,
    })
}

async fn ask(sentinel: &Host, name: &str) -> RedisResult<Option<Endpoint>> {
    let limits = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let sentinel = Host {
        database: 0,
        ..sentinel.clone()
    };
    let mut connection = multiplexed(&sentinel, ProtocolVersion::RESP2, &limits, PATIENCE).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(name);
    let answer = command(&mut connection, &question).await?;
    if answer == Value::Nil {
        return Ok(None);
    }
    let (host, port): (String, u16) = redis::from_redis_value(answer)?;
    Ok(Some(Endpoint::Tcp(host, port)))
}
