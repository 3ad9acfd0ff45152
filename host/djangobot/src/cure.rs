//! The cures for errors of the channel layer, one for each kind.

use djangobot_channels::{ConfigError, LayerError, RefusalKind, TlsFailure};

/// The cure for an error of a layer, as a clause.
pub(crate) fn of_layer(error: &LayerError) -> String {
    match error {
        LayerError::Unavailable { address, reason } => of_absence(address, reason),
        LayerError::Refused { kind, .. } => of_refusal(*kind),
        LayerError::Tls { kind, .. } => of_tls(*kind),
        LayerError::Unsupported { .. } => {
            "use another layer: channels_redis.core.RedisChannelLayer can do all that djangobot needs"
                .into()
        }
        LayerError::Closed => "start djangobot again".into(),
    }
}

/// The cure for settings from which no layer can be made.
pub(crate) fn of_config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Url { url, .. } if url.starts_with("embedded://") => {
            "write embedded:// for any free port of this machine, embedded://127.0.0.1:PORT, or embedded://:PASSWORD@0.0.0.0:PORT for other machines too"
        }
        ConfigError::Url { reason, .. } if reason.contains("scheme") => {
            "write redis://HOST:PORT/DB, rediss://, unix:///PATH?db=N, redis+pubsub://, asgi-redis:// or embedded://"
        }
        ConfigError::Url { .. } => {
            "write the address as redis://USER:PASSWORD@HOST:PORT/DB, with / ? # @ % in a password as %2F %3F %23 %40 %25"
        }
        ConfigError::Mixed(_) => "name one layer: shards are several URLs of the same kind",
        ConfigError::NeedsServer => "start djangobot with TARGET embedded://",
        ConfigError::Option { .. } => {
            "correct this option in CHANNEL_LAYERS of the project's settings, or below [layer] in djangobot.toml if it is there"
        }
        ConfigError::Backend { .. } => {
            "use a supported BACKEND: name another entry of CHANNEL_LAYERS with --alias, or write backend and config below [layer] in djangobot.toml"
        }
    }
}

fn of_absence(address: &str, reason: &str) -> String {
    let has = |part: &str| reason.contains(part);
    if address.starts_with("sentinel ") {
        "check that the Sentinels are running and reachable from here, and that the master's name is one that they watch: redis-cli -h HOST -p 26379 SENTINEL MASTERS".into()
    } else if has("Connection refused") {
        "check that the server is running and that this is its port; to do without a server, use djangobot layer or TARGET embedded://".into()
    } else if has("No such file") {
        "check that the server is running and that this is the path of its `unixsocket`".into()
    } else if has("Permission denied") {
        "this user may not use the socket: change the server's `unixsocketperm`, or run djangobot in the socket's group".into()
    } else if has("lookup address") || has("Name or service") || has("resolve") {
        "this host name has no address here: check its spelling; between containers it is the name of the server's service".into()
    } else if has("no connection within") || has("timed out") || has("unreachable") {
        "nothing answers at this address: check the address, firewalls between here and there, and whether the server is stuck; socket_connect_timeout sets another time limit".into()
    } else if has("end of file")
        || has("reset by peer")
        || has("Broken pipe")
        || has("multiplexed connection")
    {
        "the server closes the connection: check whether it has reached `maxclients`, and whether it is a Redis at all".into()
    } else {
        "check that the server is a Redis that is running and reachable from here: redis-cli -u URL PING".into()
    }
}

fn of_refusal(kind: RefusalKind) -> String {
    match kind {
        RefusalKind::Credentials => "give the server's user and password: redis://USER:PASSWORD@HOST:PORT, or username and password in the host's dict",
        RefusalKind::Permission => "the server's ACL denies this user something: allow the commands that channels_redis needs, on keys and channels that begin with the layer's prefix (ACL LOG on the server names what was denied)",
        RefusalKind::UnknownCommand => "a command is renamed or disabled there, or the server is not a Redis: see `rename-command` in its configuration; for Sentinels write {\"sentinels\": [(HOST, 26379)], \"master_name\": NAME} in place of a URL",
        RefusalKind::ReadOnly => "this server is a replica: name the master, or the Sentinels that know it",
        RefusalKind::Cluster => "this server is a member of a cluster of several shards, and a channel layer's keys must be on one server: name a server outside a cluster, or several of them as shards in hosts",
        RefusalKind::Replicas => "the server waits for its replicas: check that they are connected, or lower its `min-replicas-to-write`",
        RefusalKind::Memory => "the server's memory is full: raise `maxmemory`, or find out what fills it (redis-cli --bigkeys)",
        RefusalKind::Disk => "the server can't write to its own disk and accepts no writes: see its log and the disk's free space",
        RefusalKind::Busy => "the server is busy for a moment: wait, and see its log if it stays so",
        RefusalKind::WrongType => "another program keeps other data in this key: give the layer a `prefix` or a database of its own, or delete the key",
        RefusalKind::Settings => "correct this setting of djangobot's; the server was not asked",
        RefusalKind::Request => "read the server's own message; if it names a size, raise the server's limit for a request",
    }
    .into()
}

fn of_tls(kind: TlsFailure) -> String {
    match kind {
        TlsFailure::Issuer => "trust the authority that signed the server's certificate: ssl_ca_certs in the host's dict, or ?ssl_ca_certs=/PATH/ca.pem at the end of the URL; for a self-signed certificate, name that certificate itself",
        TlsFailure::Name => "connect to a name that is in the server's certificate, or have a certificate made with this name; ssl_check_hostname=False leaves names unchecked",
        TlsFailure::Time => "renew the server's certificate; if it is new, check the clocks of both machines",
        TlsFailure::Form => "have another certificate made for the server; the error says what is wrong with this one",
        TlsFailure::OwnCertificate => "the server wants a client certificate that its authority (`tls-ca-cert-file`) has signed: name it with ssl_certfile and ssl_keyfile",
        TlsFailure::NotSpoken => "write redis:// in place of rediss://, or use the server's `tls-port`",
        TlsFailure::Wanted => "write rediss:// in place of redis://, or use a port on which the server does not speak TLS",
        TlsFailure::Settings => "correct this file or setting of djangobot's; the server was not asked. Relative paths start from the project's folder, and djangobot must be able to read the file",
        TlsFailure::Protocol => "see the server's log, and its `tls-protocols` and `tls-ciphers`: TLS 1.2 or 1.3 must be among them",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_cure_of_its_own() {
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
