//! A run of addresses, as a pool lists them: a CIDR or `first-last`.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use ipnet::IpNet;

/// Addresses of one family, both ends included. IPv4 in any spelling is IPv4,
/// never an IPv6 address that has one inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RangeError {
    /// Neither `address/length` nor `first-last`.
    Syntax { text: String },
    /// The length of the prefix is more than the family has bits.
    Cidr { text: String },
    /// One of the ends is no address.
    End { text: String },
    /// One end is IPv4, the other IPv6.
    Families { first: IpAddr, last: IpAddr },
    /// The end comes before the start.
    Backwards { first: IpAddr, last: IpAddr },
}

impl AddressRange {
    /// # Errors
    /// The ends are of two families, or the wrong way round.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::Families { first, last });
        }
        if first > last {
            return Err(RangeError::Backwards { first, last });
        }
        Ok(Self { first, last })
    }

    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.is_ipv4() && self.first <= address && address <= self.last
    }

    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.first <= other.last && other.first <= self.last
    }

    /// How many addresses there are; `u128::MAX` for the whole of IPv6, which
    /// has one more.
    #[must_use]
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// The address that comes `offset` places after the first.
    #[must_use]
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let number = number(self.first).checked_add(offset)?;
        let address = match self.first {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).ok()?)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
        };
        (address <= self.last).then_some(address)
    }

    /// All addresses, the lowest first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let range = *self;
        (0..self.size()).map_while(move |offset| range.nth(offset))
    }

    /// The shortest prefix among the fewest that make up the range: what
    /// aggregation is compared with. In bits, 0 to 32 or 128.
    #[must_use]
    pub fn shortest_prefix(&self) -> u8 {
        let (low, high) = (number(self.first), number(self.last));
        let bits: u8 = if self.is_ipv4() { 32 } else { 128 };
        (0..=bits)
            .find(|length| {
                let host = bits - length;
                let mask = if host == 128 {
                    u128::MAX
                } else {
                    (1 << host) - 1
                };
                // The first block of this size that begins at or after `low`.
                match low.checked_add(mask) {
                    Some(start) => (start & !mask).checked_add(mask).is_some_and(|e| e <= high),
                    None => false,
                }
            })
            .unwrap_or(bits)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

impl From<IpNet> for AddressRange {
    /// Bits beyond the prefix do not count, as in MetalLB.
    fn from(net: IpNet) -> Self {
        Self {
            first: net.network().to_canonical(),
            last: net.broadcast().to_canonical(),
        }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    /// `192.0.2.0/24`, `192.0.2.10-192.0.2.20`, `2001:db8::/64`, and blanks
    /// around `-`.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        if let Some((first, last)) = text.split_once('-') {
            let end = |end: &str| {
                let end = end.trim();
                end.parse::<IpAddr>().ok().ok_or_else(|| RangeError::End {
                    text: end.to_string(),
                })
            };
            return Self::new(end(first)?, end(last)?);
        }
        let text = text.to_string();
        let Some((address, length)) = text.split_once('/') else {
            return Err(RangeError::Syntax { text });
        };
        match (address.parse::<IpAddr>(), length.parse::<u8>()) {
            (Ok(address), Ok(length)) => match IpNet::new(address, length) {
                // Go takes an IPv4 address inside IPv6 for IPv6 here: too rare
                // to have two meanings for.
                Ok(net) => Ok(net.into()),
                Err(_too_long) => Err(RangeError::Cidr { text }),
            },
            _ => Err(RangeError::Syntax { text }),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { text } => write!(
                f,
                "\"{text}\" is neither a CIDR (192.0.2.0/24) nor a range (192.0.2.10-192.0.2.20)"
            ),
            Self::Cidr { text } => write!(f, "the prefix length of \"{text}\" is too long"),
            Self::End { text } => write!(f, "\"{text}\" is not an IP address"),
            Self::Families { first, last } => {
                write!(f, "{first} and {last} are of different families")
            }
            Self::Backwards { first, last } => {
                write!(f, "the start {first} is after the end {last}")
            }
        }
    }
}

impl core::error::Error for RangeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_cidr_is_all_its_addresses_with_host_bits_masked_off() {
        let whole = range("192.0.2.77/24");
        assert_eq!(whole, range("192.0.2.0-192.0.2.255"));
        assert_eq!(whole.size(), 256);
        assert_eq!(range("2001:db8::/64").size(), 1 << 64);
        assert_eq!(range("::/0").size(), u128::MAX);
        assert_eq!(range("0.0.0.0/0").size(), 1 << 32);
    }

    #[test]
    fn a_range_may_have_blanks_around_its_dash() {
        let addresses: Vec<_> = range(" 192.0.2.254 - 192.0.3.1").addresses().collect();
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["192.0.2.254", "192.0.2.255", "192.0.3.0", "192.0.3.1"]
        );
        assert_eq!(range("143.92.123.123-143.92.123.123").size(), 1);
    }

    #[test]
    fn addresses_end_with_the_family() {
        assert_eq!(range("255.255.255.254/31").addresses().count(), 2);
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127";
        assert_eq!(range(last).addresses().count(), 2);
    }

    #[test]
    fn what_is_no_range_says_why() {
        let error = |text: &str| AddressRange::from_str(text).unwrap_err().to_string();
        assert!(error("192.0.2.0").contains("neither a CIDR"));
        assert!(error("").contains("neither a CIDR"));
        assert!(error("192.0.2.0/x").contains("neither a CIDR"));
        assert!(error("192.0.2.0/33").contains("too long"));
        assert!(error("192.0.2.1-300").contains("\"300\" is not an IP address"));
        assert!(error("1.2.3.4-2001:db8::1").contains("different families"));
        assert!(error("192.0.2.20-192.0.2.10").contains("is after the end 192.0.2.10"));
    }

    #[test]
    fn families_do_not_mix() {
        assert!(!range("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(!range("0.0.0.0/0").overlaps(&range("::/0")));
        assert!(range("192.0.2.0/24").contains("::ffff:192.0.2.7".parse().unwrap()));
        assert!(range("192.0.2.0/24").overlaps(&range("192.0.2.255-192.0.3.9")));
    }

    #[test]
    fn the_shortest_prefix_is_that_of_the_largest_block_inside() {
        for (text, expected) in [
            ("192.0.2.0/24", 24),
            ("0.0.0.0/0", 0),
            ("::/0", 0),
            ("192.0.2.1-192.0.2.1", 32),
            ("192.0.2.1-192.0.2.2", 32),
            ("192.0.2.10-192.0.2.20", 30),
            ("192.0.1.255-192.0.3.0", 24),
            ("255.255.255.255-255.255.255.255", 32),
            ("2001:db8::1-2001:db8::ffff", 113),
        ] {
            assert_eq!(range(text).shortest_prefix(), expected, "{text}");
        }
    }
}
