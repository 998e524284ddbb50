//! What sessions have said, for the CLI, metrics, and whoever writes to the
//! cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lb_core::desired::Untold;
use tokio::sync::watch;

use super::running::Running;
use super::speaker::Said;
use crate::driver::bfd::AllFound;
use crate::report::routers::{BfdRow, Router, Routers};
use crate::report::routes::{OfPeer, ToldOf};

pub(super) struct Telling {
    run_folder: PathBuf,
    told: watch::Sender<Arc<Routers>>,
    /// By the peers' names.
    said: BTreeMap<String, Said>,
    /// What the file of routes is made of; none: it is to be written.
    told_of: Option<ToldOf>,
}

impl Telling {
    pub(super) const fn new(run_folder: PathBuf, told: watch::Sender<Arc<Routers>>) -> Self {
        Self {
            run_folder,
            told,
            said: BTreeMap::new(),
            told_of: None,
        }
    }

    pub(super) fn hear(&mut self, said: Said) {
        self.said.insert(said.router.name.clone(), said);
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.said.remove(name);
    }

    pub(super) fn say(
        &mut self,
        running: &BTreeMap<String, Running>,
        found: &AllFound,
        untold: &Arc<Vec<Untold>>,
    ) {
        let with_bfd = |(name, said): (&String, &Said)| {
            let running = running.get(name)?;
            let profile = running.peer.bfd.as_ref();
            let bfd = profile.map(|profile| {
                let found = running.bfd().and_then(|ends| found.get(&ends));
                BfdRow::new(profile, found)
            });
            Some(Router {
                bfd,
                ..said.router.clone()
            })
        };
        let routers = Arc::new(Routers {
            routers: self.said.iter().filter_map(with_bfd).collect(),
        });
        if let Err(error) = routers.write(&self.run_folder) {
            tracing::warn!(folder = %self.run_folder.display(), %error, "cannot write about routers");
        }
        self.told.send_replace(routers);
        self.say_routes(running, untold);
    }

    fn say_routes(&mut self, running: &BTreeMap<String, Running>, untold: &Arc<Vec<Untold>>) {
        let of_peer = |(name, running): (&String, &Running)| {
            let said = self.said.get(name);
            let of_peer = OfPeer {
                prefixes: running.peer.prefixes.clone(),
                routes: running.orders.borrow().routes.clone(),
                rib: said.map(|said| said.rib.clone()).unwrap_or_default(),
                established: said.is_some_and(|said| said.router.established),
                leaving: running.peer.leaving,
            };
            (name.clone(), of_peer)
        };
        let of = ToldOf {
            peers: running.iter().map(of_peer).collect(),
            untold: untold.clone(),
        };
        if self.told_of.as_ref() == Some(&of) {
            return;
        }
        let folder = &self.run_folder;
        match of.write(folder) {
            Ok(()) => self.told_of = Some(of),
            Err(error) => {
                self.told_of = None;
                tracing::warn!(folder = %folder.display(), %error, "cannot write what routers know");
            }
        }
    }
}
