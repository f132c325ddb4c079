//! File systems inside a source whose content others may change.

use std::fs;

use crate::support::{
    MountedBySshfs, Requirement, Sandbox, TransferMode, needs, with_private_mounts,
};

#[test]
fn changes_that_others_make_in_a_mount_inside_the_source_arrive() {
    needs!(Requirement::Mounts, Requirement::Ssh, Requirement::Program("sshfs"));
    with_private_mounts(|| {
        let sandbox = Sandbox::new();
        let (source, target) = (sandbox.create_dir("source"), sandbox.create_dir("target"));
        let served = ["first", "second"].map(|name| sandbox.create_dir(name));
        let places = ["first", "second"].map(|name| source.join(name));
        for place in &places {
            fs::create_dir(place).unwrap();
        }
        let _first = MountedBySshfs::mount(&sandbox, &served[0], &places[0]);
        let daemon = sandbox.daemon().mirror(TransferMode::Direct, &source, &target).start();
        daemon.wait_live();
        fs::write(served[0].join("behind"), "1").unwrap();
        daemon.wait_until("the change arrives", || target.join("first/behind").exists());
        // Mounted later.
        let _second = MountedBySshfs::mount(&sandbox, &served[1], &places[1]);
        fs::write(served[1].join("early"), "1").unwrap();
        daemon.wait_until("the mount arrives", || target.join("second/early").exists());
        fs::write(served[1].join("behind"), "1").unwrap();
        daemon.wait_until("the change arrives", || target.join("second/behind").exists());
    });
}
