//! Every packet's verdict has one reason, and this is the list of reasons: the
//! same names in the kernel's counters, the CLI, the metrics and the documents.

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the stack, or to the pod past it.
    Pass,
    /// Out of a device again.
    Forward,
    Drop,
    /// Not a verdict: something worth counting that happened on the way.
    Event,
}

/// Which program counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
    Both,
}

macro_rules! reasons {
    ($($name:ident, $verdict:ident, $direction:ident, $text:literal;)+) => {
        /// Why a packet met its verdict. The discriminant is the index in
        /// `COUNTERS`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        #[expect(non_camel_case_types, reason = "one name everywhere: as it is shown to people")]
        pub enum Reason {
            $(#[doc = $text] $name,)+
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name shown to people and used in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// A sentence that says what it means.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)+ }
            }

            pub const fn direction(self) -> Direction {
                match self { $(Self::$name => Direction::$direction,)+ }
            }
        }
    };
}

reasons! {
    // to the pod
    delivered_established, Pass, Ingress, "of an established flow, delivered to its pod here";
    delivered_embryonic, Pass, Ingress, "of a flow in its handshake, delivered to its pod here";
    delivered_new, Pass, Ingress, "begins a flow, delivered to the pod picked for it here";
    delivered_pick, Pass, Ingress, "of a flow not known here, delivered by the pick: the pod decides";
    delivered_fragment, Pass, Ingress, "a later fragment, delivered with its first";
    // to another node
    handed_over, Forward, Ingress, "to the pod's node on the same link: MACs rewritten";
    handed_over_routed, Forward, Ingress, "to the pod's node behind a router: IP in UDP";
    handed_on, Forward, Ingress, "handed over once more, marked, on the same link";
    handed_on_routed, Forward, Ingress, "handed over once more, marked, behind a router";
    // answered here
    arp_answered, Forward, Ingress, "ARP request for a VIP that this node owns, answered";
    ndp_answered, Forward, Ingress, "neighbour solicitation for a VIP that this node owns, answered";
    echo_answered, Forward, Ingress, "ICMP echo request to a VIP, answered";
    rejected_no_backend, Forward, Ingress, "no endpoint takes it: answered with RST or port unreachable";
    rejected_no_frontend, Forward, Ingress, "no Service has that port on the VIP: answered with RST or port unreachable";
    rejected_protocol, Forward, Ingress, "a protocol that no Service on the VIP has: answered with protocol unreachable";
    too_big_answered, Forward, Ingress, "does not fit the way to the pod's node: answered with its MTU";
    time_exceeded_answered, Forward, Ingress, "its TTL ends here: answered with time exceeded";
    // ICMP that belongs to flows
    icmp_error_delivered, Pass, Ingress, "ICMP error about a flow of a pod here, translated and delivered";
    // untouched
    not_for_us, Pass, Ingress, "not for a VIP: untouched";
    not_ip, Pass, Ingress, "neither IP nor ARP: untouched";
    other_mac, Pass, Ingress, "the frame is for another machine: untouched";
    arp_not_for_us, Pass, Ingress, "ARP that is not about a VIP: untouched";
    arp_foreign_answer, Pass, Ingress, "somebody else says to have a VIP that this node owns, or one that is no node says to have any: untouched, look for the other machine";
    icmp_unrelated, Drop, Ingress, "ICMP to a VIP that is neither an echo request nor an error about a known flow";
    malformed, Pass, Ingress, "headers that lie about their length or are cut short: untouched, the stack drops it";
    // dropped
    arp_not_owner, Drop, Ingress, "ARP request for a VIP that another node owns: that node answers";
    ndp_not_owner, Drop, Ingress, "neighbour solicitation for a VIP that another node owns: that node answers";
    vip_expired, Drop, Ingress, "asked for a VIP that this node owned until its agent stopped renewing";
    malformed_for_vip, Drop, Ingress, "to a VIP, with headers that lie about their length or are cut short";
    extension_headers, Drop, Ingress, "to a VIP, with more IPv6 extension headers than are walked";
    fragment_unknown, Drop, Ingress, "a later fragment whose first has not come, or not lately";
    fragment_overlap, Drop, Ingress, "a fragment that overlaps what came before or leaves a gap";
    unsettled, Drop, Ingress, "its owner may yet be told after a change of endpoints: TCP sends it again";
    stranded, Drop, Ingress, "handed on once already, and not known here either";
    no_next_hop, Drop, Ingress, "the way to the pod's node is not known";
    not_answerable, Drop, Ingress, "nothing takes it, and it may not be answered: a reset, a later fragment, or from everybody";
    rate_limited, Drop, Ingress, "would have been answered, but answers of that kind are used up for now";
    // egress
    reply_translated, Pass, Egress, "an answer of a pod here, translated to its VIP";
    reply_fragment_translated, Pass, Egress, "a later fragment of an answer, translated with its first";
    icmp_error_translated, Pass, Egress, "ICMP error of a pod or this node about a flow, translated to its VIP";
    egress_untouched, Pass, Egress, "leaves an uplink and is no answer of a flow: untouched";
    reply_too_early, Drop, Egress, "of a pod here, in a flow that may have been lost with the tables a moment ago: TCP sends it again";
    reply_fragment_overlap, Drop, Egress, "a fragment of an answer that overlaps or leaves a gap";
    // events, beside the verdict
    flow_established, Event, Both, "a flow proved that both sides take part and was entered";
    flows_full, Event, Both, "a flow was not entered since the table of flows is full";
    source_port_changed, Event, Ingress, "a second flow from one source port to one pod got another source port";
    no_source_port, Event, Ingress, "no free source port was found for such a flow; it shares the first one's";
}

/// Entries of `COUNTERS`: room for reasons to come without a new layout.
pub const COUNTERS: u32 = 128;

const _: () = assert!(Reason::ALL.len() <= COUNTERS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_index_of_its_counter() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.name());
        }
    }

    #[test]
    fn every_reason_says_what_it_means() {
        for reason in Reason::ALL {
            assert!(reason.text().len() > 20, "{}", reason.name());
        }
    }
}
