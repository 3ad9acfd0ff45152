//! Public and other IP addresses. A plugin must not reach the addresses of this machine, of its network, or those at
//! which a cloud's metadata service answers with credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is public. An IPv6 address that contains an IPv4 address is as public as that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

/// Whether an operator may allow an address that is not public: those of this machine and of private networks, but
/// never those of a cloud's metadata service.
pub(super) fn may_be_allowed(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => may_be_allowed_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => may_be_allowed_v4(address),
            None => {
                // The metadata services of AWS, Google Cloud and Scaleway lie within the unique local addresses.
                let metadata = [
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                    "fd00:42::42",
                ];
                (address.is_loopback() || address.is_unique_local())
                    && !metadata.iter().any(|known| known.parse() == Ok(address))
            }
        },
    }
}

fn may_be_allowed_v4(address: Ipv4Addr) -> bool {
    // Carriers share this range, and clouds use it inside; Alibaba Cloud's metadata service is at 100.100.100.200.
    let shared = within(address, [100, 64, 0, 0], 10) && !within(address, [100, 100, 100, 200], 32);
    address.is_loopback() || address.is_private() || shared
}

/// Whether an address is public: it is not in IANA's registry of special-purpose addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const SPECIAL: &[([u8; 4], u32)] = &[
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 4),
        ([240, 0, 0, 0], 4),
        // Not in the registry: Azure's virtual machines reach their host here.
        ([168, 63, 129, 16], 32),
    ];
    !SPECIAL
        .iter()
        .any(|(network, bits)| within(address, *network, *bits))
}

fn within(address: Ipv4Addr, network: [u8; 4], bits: u32) -> bool {
    let mask = u32::MAX << (32 - bits);
    address.to_bits() & mask == u32::from_be_bytes(network) & mask
}

/// Whether an address is public: it lies in 2000::/3, the global addresses, and not in a special part of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let global = first & 0xe000 == 0x2000;
    // The special parts are those for IETF protocols (Teredo among them), two for documentation, and 6to4.
    let protocols = first == 0x2001 && second < 0x0200;
    let documentation =
        (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second < 0x1000);
    let six_to_four = first == 0x2002;
    global && !(protocols || documentation || six_to_four)
}

/// The IPv4 address to which a packet for this IPv6 address goes in the end, if there is one: mapped (`::ffff:0:0/96`),
/// compatible (`::/96`), translated (`::ffff:0:0:0/96`, `64:ff9b::/96`) and ISATAP.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let inside = || Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => {
            Some(inside())
        }
        // A compatible address. With `high` 0 it would be `::` or `::1`, which are addresses of IPv6 itself.
        [0, 0, 0, 0, 0, 0] if high != 0 => Some(inside()),
        [_, _, _, _, 0 | 0x0200, 0x5efe] => Some(inside()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            let address: IpAddr = public.parse().unwrap();
            assert!(is_public(address), "{public}");
            assert!(!may_be_allowed(address), "{public}");
        }
        for hidden in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:127.0.0.1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(hidden.parse().unwrap()), "{hidden}");
        }
    }

    #[test]
    fn an_operator_may_allow_private_networks_but_no_metadata_service() {
        for own in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.1",
            "172.20.0.1",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(may_be_allowed(own.parse().unwrap()), "{own}");
        }
        for never in [
            "0.0.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
        ] {
            assert!(!may_be_allowed(never.parse().unwrap()), "{never}");
        }
    }
}
