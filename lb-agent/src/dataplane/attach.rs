//! Which program is on which device.
//!
//! Every attachment is a pinned link, so it outlives this process, and an
//! agent that starts changes the program of a link in place: no packet meets
//! a device without one.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError, LinkOrder, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{Program, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};

use super::jiffies;
use super::pins::Pins;

/// A place where a program of ours is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// XDP on uplinks: everything that comes in.
    Ingress,
    /// TCX egress on uplinks: answers on their way out.
    Egress,
    /// TCX ingress on uplinks: past the stack into pods.
    Deliver,
    /// TCX ingress on pods' devices: answers past the stack.
    Return,
}

impl Hook {
    pub const ALL: [Self; 4] = [Self::Ingress, Self::Egress, Self::Deliver, Self::Return];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Deliver => "deliver",
            Self::Return => "return",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// The program's name in the object.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "lb_ingress",
            Self::Egress => "lb_egress",
            Self::Deliver => "lb_deliver",
            Self::Return => "lb_return",
        }
    }
}

/// A program is not where it should be; the others are as they should be.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(
        "another XDP program is on {device}: take it off (`ip link set dev {device} xdp off`), \
         or leave the device to it with --uplink"
    )]
    Taken { device: String },
    #[error("cannot attach {program} to {device}")]
    Attach {
        program: &'static str,
        device: String,
        #[source]
        source: ProgramError,
    },
    #[error(
        "{device} takes programs only in a way that does not outlive the agent; it needs a \
         driver with XDP links"
    )]
    NoLink {
        device: String,
        #[source]
        source: LinkError,
    },
    #[error("cannot pin {program} on {device}")]
    Pin {
        program: &'static str,
        device: String,
        #[source]
        source: aya::pin::PinError,
    },
    #[error("cannot remove the pinned {program} of device {ifindex}")]
    Unpin {
        program: &'static str,
        ifindex: u32,
        #[source]
        source: io::Error,
    },
    #[error("the data plane has no program {program} for {device}")]
    NoProgram {
        program: &'static str,
        device: String,
    },
}

/// The devices that should have a program, by hook and number, with names.
pub type Wanted = BTreeMap<(Hook, u32), String>;

/// The loaded programs and where they are.
pub struct Attachments {
    ebpf: Ebpf,
    pins: Pins,
    links: BTreeMap<(Hook, u32), FdLink>,
}

impl std::fmt::Debug for Attachments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachments")
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Attachments {
    #[must_use]
    pub fn new(ebpf: Ebpf, pins: Pins) -> Self {
        Self {
            ebpf,
            pins,
            links: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn has_program(&self, hook: Hook) -> bool {
        self.ebpf.program(hook.program()).is_some()
    }

    /// Makes the kernel's clock known to this process and to commands. False
    /// if the data plane has no such program.
    pub fn pin_clock(&mut self) -> io::Result<bool> {
        let program = self.ebpf.program_mut(jiffies::CLOCK);
        let clock: Option<&mut Xdp> = program.and_then(|program| program.try_into().ok());
        clock.map_or(Ok(false), |clock| {
            jiffies::pin(clock, &self.pins).map(|()| true)
        })
    }

    /// Attaches what should be attached. Links that are pinned from before go
    /// over to this process's programs.
    pub fn attach(&mut self, wanted: &Wanted) -> Vec<AttachError> {
        let mut errors = Vec::new();
        for ((hook, ifindex), device) in wanted {
            if !self.links.contains_key(&(*hook, *ifindex)) {
                match self.attach_one(*hook, *ifindex, device) {
                    Ok(link) => {
                        self.links.insert((*hook, *ifindex), link);
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
        errors
    }

    /// Takes off what should not be attached.
    pub fn detach_others(&mut self, wanted: &Wanted) -> Vec<AttachError> {
        let mut errors = Vec::new();
        self.links.retain(|place, _| wanted.contains_key(place));
        let pinned = self.pins.pinned_links().unwrap_or_default();
        for (hook, ifindex) in pinned {
            if !wanted.contains_key(&(hook, ifindex)) {
                errors.extend(self.unpin(hook, ifindex).err());
            }
        }
        errors
    }

    fn attach_one(
        &mut self,
        hook: Hook,
        ifindex: u32,
        device: &str,
    ) -> Result<FdLink, AttachError> {
        let path = self.pins.link(hook, ifindex);
        if let Ok(pinned) = PinnedLink::from_pin(&path) {
            match self.update(hook, pinned) {
                Ok(link) => return Ok(link),
                // The device has gone and another came, most likely.
                Err(error) => {
                    tracing::info!(program = hook.program(), device, %error, "a link is attached anew");
                    self.unpin(hook, ifindex)?;
                }
            }
        }
        let no_program = || AttachError::NoProgram {
            program: hook.program(),
            device: device.to_owned(),
        };
        let program = self.ebpf.program_mut(hook.program());
        let link = match program.ok_or_else(no_program)? {
            Program::Xdp(program) => attach_xdp(program, ifindex, device)?,
            Program::SchedClassifier(program) => attach_tcx(program, hook, device)?,
            _ => return Err(no_program()),
        };
        let pinned = link.pin(&path).map_err(|source| AttachError::Pin {
            program: hook.program(),
            device: device.to_owned(),
            source,
        })?;
        tracing::info!(program = hook.program(), device, "attached");
        Ok(pinned.into())
    }

    /// Gives a link that is pinned the program of this process, at once.
    fn update(&mut self, hook: Hook, pinned: PinnedLink) -> Result<FdLink, ProgramError> {
        let link = FdLink::from(pinned);
        let invalid = |error: LinkError| ProgramError::IOError(io::Error::other(error));
        match self.ebpf.program_mut(hook.program()) {
            Some(Program::Xdp(program)) => {
                let link = XdpLink::try_from(link).map_err(invalid)?;
                let id = program.attach_to_link(link)?;
                program.take_link(id)?.try_into().map_err(invalid)
            }
            Some(Program::SchedClassifier(program)) => {
                let link = SchedClassifierLink::try_from(link).map_err(invalid)?;
                let id = program.attach_to_link(link)?;
                program.take_link(id)?.try_into().map_err(invalid)
            }
            _ => Err(ProgramError::NotLoaded),
        }
    }

    fn unpin(&self, hook: Hook, ifindex: u32) -> Result<(), AttachError> {
        match fs::remove_file(self.pins.link(hook, ifindex)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(AttachError::Unpin {
                program: hook.program(),
                ifindex,
                source,
            }),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// In the driver where it can, else in the generic way, and never without a
/// word: left to itself the kernel would fall back silently.
fn attach_xdp(program: &mut Xdp, ifindex: u32, device: &str) -> Result<FdLink, AttachError> {
    let attach = |source| match errno(&source) {
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Taken {
            device: device.to_owned(),
        },
        _ => AttachError::Attach {
            program: Hook::Ingress.program(),
            device: device.to_owned(),
            source,
        },
    };
    let id = match program.attach_to_if_index(ifindex, XdpMode::Driver) {
        Ok(id) => id,
        Err(error)
            if matches!(
                errno(&error),
                Some(libc::EOPNOTSUPP | libc::ERANGE | libc::EINVAL)
            ) =>
        {
            tracing::warn!(
                device, %error,
                "its driver does not run XDP programs: generic mode, which is slower"
            );
            program
                .attach_to_if_index(ifindex, XdpMode::Skb)
                .map_err(attach)?
        }
        Err(error) => return Err(attach(error)),
    };
    let link = program.take_link(id).map_err(attach)?;
    link.try_into().map_err(|source| AttachError::NoLink {
        device: device.to_owned(),
        source,
    })
}

fn attach_tcx(
    program: &mut SchedClassifier,
    hook: Hook,
    device: &str,
) -> Result<FdLink, AttachError> {
    let attach = |source| AttachError::Attach {
        program: hook.program(),
        device: device.to_owned(),
        source,
    };
    // On the way out we are last, so that others see the packet as the pod
    // sent it; on the way in first.
    let (side, order) = match hook {
        Hook::Egress => (TcAttachType::Egress, LinkOrder::last()),
        Hook::Ingress | Hook::Deliver | Hook::Return => (TcAttachType::Ingress, LinkOrder::first()),
    };
    let options = TcAttachOptions::TcxOrder(order);
    let id = program
        .attach_with_options(device, side, options)
        .map_err(attach)?;
    let link = program.take_link(id).map_err(attach)?;
    link.try_into().map_err(|source| AttachError::NoLink {
        device: device.to_owned(),
        source,
    })
}

/// The error number below an error of aya's, wherever it is kept.
fn errno(error: &ProgramError) -> Option<i32> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        if let Some(call) = error.downcast_ref::<aya::sys::SyscallError>() {
            return call.io_error.raw_os_error();
        }
        if let ProgramError::SyscallError(call) = error
            .downcast_ref::<ProgramError>()
            .unwrap_or(&ProgramError::NotLoaded)
        {
            return call.io_error.raw_os_error();
        }
        cause = error.source();
    }
    None
}

/// The links that are pinned, with the id of the program that runs there.
#[must_use]
pub fn pinned(pins: &Pins) -> Vec<(Hook, u32, u32)> {
    let links = pins.pinned_links().unwrap_or_default().into_iter();
    links
        .filter_map(|(hook, ifindex)| {
            let link = PinnedLink::from_pin(pins.link(hook, ifindex)).ok()?;
            let info = FdLink::from(link).info().ok()?;
            Some((hook, ifindex, info.program_id()))
        })
        .collect()
}
