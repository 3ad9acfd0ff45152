//! What to do about an error of the channel layer: each kind has a cure of its own.

use djangobot_channels::{ConfigError, LayerError, RefusalKind, TlsFailure};

/// What to do about `error`, as a sentence.
pub(crate) fn of_layer(error: &LayerError) -> String {
    match error {
        LayerError::Unavailable { address, reason } => of_absence(address, reason),
        LayerError::Refused { kind, .. } => of_refusal(*kind),
        LayerError::Tls { kind, .. } => of_tls(*kind),
        LayerError::Unsupported { .. } => {
            "use another layer: channels_redis.core.RedisChannelLayer has all that djangobot needs"
                .into()
        }
        LayerError::Closed => "start djangobot again".into(),
    }
}

/// What to do about settings that no layer can be made of.
pub(crate) fn of_config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Url { .. } => {
            "write the address as redis://USER:PASSWORD@HOST:PORT/DB, with / ? # @ % in a password as %2F %3F %23 %40 %25"
        }
        ConfigError::Mixed(_) => "name one layer: shards are several URLs of the same kind",
        ConfigError::NeedsServer => "start djangobot with TARGET embedded://",
        ConfigError::Option { .. } => {
            "mend this option: in CHANNEL_LAYERS of the project's settings, or below [layer] in djangobot.toml where it stands there"
        }
        ConfigError::Backend { .. } => {
            "name another entry of CHANNEL_LAYERS with --alias, or write the layer that djangobot is to use into djangobot.toml: [layer] backend and config"
        }
    }
}

fn of_absence(address: &str, reason: &str) -> String {
    let has = |part: &str| reason.contains(part);
    if address.starts_with("sentinel ") {
        "are the Sentinels running and reachable from here, and is the master's name the one that they watch? redis-cli -h HOST -p 26379 SENTINEL MASTERS shows it".into()
    } else if has("Connection refused") {
        "is the server running, and is this its port? Without a server: djangobot layer, or TARGET embedded://".into()
    } else if has("No such file") {
        "there is no such socket: is the server running, and is this the path of its `unixsocket`?"
            .into()
    } else if has("Permission denied") {
        "this user may not use the socket: see the server's `unixsocketperm`, or run djangobot in its group".into()
    } else if has("lookup address") || has("Name or service") || has("resolve") {
        "the host's name has no address here: check how it is written; in a container it is the name of the server's service".into()
    } else if has("no connection within") || has("timed out") || has("unreachable") {
        "nothing answers at this address: is it the right one, does a firewall stand between, is the server stuck? Another time limit: socket_connect_timeout".into()
    } else if has("end of file")
        || has("reset by peer")
        || has("Broken pipe")
        || has("multiplexed connection")
    {
        "the server closes the connection: has it reached `maxclients`, or is it something else than a Redis?".into()
    } else {
        "is the server running and reachable from here, and is it a Redis? redis-cli -u URL PING tries the same".into()
    }
}

fn of_refusal(kind: RefusalKind) -> String {
    match kind {
        RefusalKind::Credentials => "give the server's user and password: redis://USER:PASSWORD@HOST:PORT, or username and password in the host's dict",
        RefusalKind::Permission => "the server's ACL keeps something from this user: allow what channels_redis itself needs, on keys and channels that begin with the layer's prefix (ACL LOG on the server names what was refused)",
        RefusalKind::UnknownCommand => "a command is renamed or switched off there, or this is no Redis: see `rename-command` in its configuration; for Sentinels write {\"sentinels\": [(HOST, 26379)], \"master_name\": NAME} in place of a URL",
        RefusalKind::ReadOnly => "this is a replica: name the master, or the Sentinels that know it",
        RefusalKind::Cluster => "this is a member of a cluster of several shards, and a channel layer's keys have to lie in one place: name a server of its own, or several as shards in hosts",
        RefusalKind::Replicas => "the server waits for its replicas: see that they are connected, or lower its `min-replicas-to-write`",
        RefusalKind::Memory => "the server's memory is full: raise `maxmemory`, or find out what fills it (redis-cli --bigkeys)",
        RefusalKind::Disk => "the server can't write its own disk, and takes no writes: see its log, and its disk's free space",
        RefusalKind::Busy => "the server says that this passes: wait, and see its log where it does not",
        RefusalKind::WrongType => "another program keeps something else in this key: give the layer a `prefix` or a database of its own, or delete the key",
        RefusalKind::Settings => "mend this setting of ours: the server was not asked",
        RefusalKind::Request => "see the server's own words; where they speak of a size, its limit for a request lies below what was sent",
    }
    .into()
}

fn of_tls(kind: TlsFailure) -> String {
    match kind {
        TlsFailure::Issuer => "trust the authority that signed the server's certificate: ssl_ca_certs in the host's dict, or ?ssl_ca_certs=/PATH/ca.pem behind the URL; for a self-signed certificate it is that certificate itself",
        TlsFailure::Name => "connect to a name that the server's certificate has, or have one made with this name; ssl_check_hostname=False leaves names unchecked",
        TlsFailure::Time => "renew the server's certificate; where it is new, look at the clocks of both machines",
        TlsFailure::Form => "have another certificate made for the server: what is wrong with this one stands above",
        TlsFailure::OwnCertificate => "the server wants a certificate of ours that its authority (`tls-ca-cert-file`) has signed: name it with ssl_certfile and ssl_keyfile",
        TlsFailure::NotSpoken => "write redis:// in place of rediss://, or use its `tls-port`",
        TlsFailure::Wanted => "write rediss:// in place of redis://, or use the port on which the server speaks no TLS",
        TlsFailure::Settings => "mend this file or setting of ours: the server was not asked. Paths are meant from the project's folder; djangobot has to be able to read them",
        TlsFailure::Protocol => "see the server's log, and its `tls-protocols` and `tls-ciphers`: TLS 1.2 or 1.3 has to be among them",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_cure_that_speaks_of_it() {
        let absent = |reason: &str| {
            of_layer(&LayerError::Unavailable {
                address: "redis://h:1".into(),
                reason: reason.into(),
            })
        };
        for (reason, part) in [
            ("Connection refused (os error 111)", "djangobot layer"),
            ("No such file or directory (os error 2)", "unixsocket"),
            ("Permission denied (os error 13)", "unixsocketperm"),
            (
                "failed to lookup address information: Name or service not known",
                "name has no address",
            ),
            ("no connection within 5s", "firewall"),
            ("unexpected end of file", "maxclients"),
            ("something else", "redis-cli"),
        ] {
            assert!(
                absent(reason).contains(part),
                "{reason}: {}",
                absent(reason)
            );
        }
        use RefusalKind as Refusal;
        let refusals = [
            Refusal::Credentials,
            Refusal::Permission,
            Refusal::UnknownCommand,
            Refusal::ReadOnly,
            Refusal::Cluster,
            Refusal::Replicas,
            Refusal::Memory,
            Refusal::Disk,
            Refusal::Busy,
            Refusal::WrongType,
            Refusal::Settings,
            Refusal::Request,
        ];
        let failures = [
            TlsFailure::Issuer,
            TlsFailure::Name,
            TlsFailure::Time,
            TlsFailure::Form,
            TlsFailure::OwnCertificate,
            TlsFailure::NotSpoken,
            TlsFailure::Wanted,
            TlsFailure::Settings,
            TlsFailure::Protocol,
        ];
        let mut cures: Vec<_> = refusals.into_iter().map(of_refusal).collect();
        cures.extend(failures.into_iter().map(of_tls));
        let count = cures.len();
        cures.sort();
        cures.dedup();
        assert_eq!(cures.len(), count, "each has its own");
        assert!(cures.iter().all(|cure| !cure.contains("djangobot check")));
    }
}
