//! Hosts on one machine: network namespaces, each with a cable to a bridge in a namespace of its
//! own, so that nothing of the machine's own network is touched. Gone when dropped.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long one `ip` command may take.
const COMMAND: Duration = Duration::from_secs(20);

/// What the names of all namespaces of these tests begin with; the process id follows.
const PREFIX: &str = "kirsh-test-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Some hosts and the switch between them.
pub(crate) struct Network {
    name: String,
    family: Family,
    /// All namespaces made so far.
    namespaces: Vec<String>,
}

impl Network {
    /// This many hosts, or why there can be none here.
    pub(crate) fn new(hosts: u32, family: Family) -> Result<Network, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // SAFETY: asks for the user that this process acts as; it cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return Err("network namespaces need root".to_owned());
        }
        let version = Command::new("ip").arg("-V").stdin(Stdio::null()).output();
        if version.is_err() {
            return Err("there is no ip command (iproute2)".to_owned());
        }
        remove_left_overs();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let mut network = Network { name, family, namespaces: Vec::new() };
        // Root of a container may lack the capability, and a kernel the bridge.
        let switch = network.switch();
        let lacking = |why| format!("no network namespaces with a bridge: {why}");
        network.add_namespace(&switch).map_err(lacking)?;
        ip(&format!("-n {switch} link add br0 type bridge")).map_err(lacking)?;
        network.on_switch("link set br0 up");
        for host in 0..hosts {
            let namespace = network.namespace(host);
            network.add_namespace(&namespace).unwrap();
            network.on_host(host, "link set lo up");
            network
                .on_switch(&format!("link add p{host} type veth peer name eth0 netns {namespace}"));
            network.on_switch(&format!("link set p{host} master br0 up"));
            network.give_address(host, "eth0", 0);
            network.on_host(host, "link set eth0 up");
        }
        network.await_carrier(hosts);
        Ok(network)
    }

    /// [`Network::new`]; where there can be none the reason is printed.
    pub(crate) fn or_skip(hosts: u32, family: Family) -> Option<Network> {
        Network::new(hosts, family).map_err(|why| eprintln!("skipped: {why}")).ok()
    }

    /// The address of a host in one of the networks, 0 being the one that works.
    pub(crate) fn address(&self, host: u32, network: u32) -> String {
        match self.family {
            Family::V4 => format!("10.{}.0.{}", 77 + network, host + 1),
            Family::V6 => format!("fd77:{network}::{}", host + 1),
        }
    }

    /// A rendezvous that rank 0, on the first host, serves.
    pub(crate) fn rendezvous(&self) -> String {
        let address = self.address(0, 0);
        match self.family {
            Family::V4 => format!("tcp://{address}:29400"),
            Family::V6 => format!("tcp://[{address}]:29400"),
        }
    }

    /// Gives a host a second interface that is up and leads nowhere, with a lower number than
    /// `eth0`, so that the kernel names it first.
    pub(crate) fn add_dead_interface(&self, host: u32) {
        let namespace = self.namespace(host);
        self.on_host(host, "link del eth0");
        for (port, interface) in [("x", "aux0"), ("p", "eth0")] {
            self.on_switch(&format!(
                "link add {port}{host} type veth peer name {interface} netns {namespace}"
            ));
            self.on_switch(&format!("link set {port}{host} up"));
        }
        self.on_switch(&format!("link set p{host} master br0"));
        self.give_address(host, "aux0", 1);
        self.give_address(host, "eth0", 0);
        self.on_host(host, "link set aux0 up");
        self.on_host(host, "link set eth0 up");
        self.await_carrier(host + 1);
    }

    /// Gives every host a second cable to the switch, `eth1`, with an address in network 1.
    pub(crate) fn add_second_network(&self, hosts: u32) {
        for host in 0..hosts {
            let namespace = self.namespace(host);
            self.on_switch(&format!("link add q{host} type veth peer name eth1 netns {namespace}"));
            self.on_switch(&format!("link set q{host} master br0 up"));
            self.give_address(host, "eth1", 1);
            self.on_host(host, "link set eth1 up");
        }
    }

    /// Gives every host a second cable, `eth1`, to a switch of its own, with an address in network 1.
    pub(crate) fn add_second_rail(&self, hosts: u32) {
        self.on_switch("link add br1 type bridge");
        self.on_switch("link set br1 up");
        self.add_second_network(hosts);
        for host in 0..hosts {
            self.on_switch(&format!("link set q{host} master br1"));
        }
    }

    /// Lets no more than this out of an interface of a host, in tc's words; or why that cannot be.
    pub(crate) fn shape(&self, host: u32, interface: &str, rate: &str) -> Result<(), String> {
        let namespace = self.namespace(host);
        let words = format!(
            "-n {namespace} qdisc add dev {interface} root tbf rate {rate} burst 64kb latency 200ms"
        );
        run("tc", &words).map(drop).map_err(|why| format!("no shaping: {why}"))
    }

    /// Takes away the way from one host to another, in this direction alone.
    pub(crate) fn block(&self, from: u32, to: u32) {
        let address = self.address(to, 0);
        self.on_host(from, &format!("route add unreachable {address}"));
    }

    /// What pulls the cable of a host.
    pub(crate) fn unplug(&self, host: u32) -> String {
        format!("ip -n {} link set p{host} down", self.switch())
    }

    /// By what each rank is started to run on the host of its number.
    pub(crate) fn starters(&self, hosts: u32) -> Vec<Vec<String>> {
        let starter = |host| {
            let words = ["ip", "netns", "exec"].map(str::to_owned);
            words.into_iter().chain([self.namespace(host)]).collect()
        };
        (0..hosts).map(starter).collect()
    }

    fn namespace(&self, host: u32) -> String {
        format!("{}-h{host}", self.name)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn add_namespace(&mut self, name: &str) -> Result<(), String> {
        ip(&format!("netns add {name}"))?;
        self.namespaces.push(name.to_owned());
        Ok(())
    }

    fn give_address(&self, host: u32, interface: &str, network: u32) {
        let address = self.address(host, network);
        let (bits, flags) = if self.family == Family::V4 { (24, "") } else { (64, " nodad") };
        self.on_host(host, &format!("addr add {address}/{bits} dev {interface}{flags}"));
    }

    /// A cable is seen a moment after it is plugged in.
    fn await_carrier(&self, hosts: u32) {
        let until = Instant::now() + COMMAND;
        for host in 0..hosts {
            let up = |output: String| output.contains("LOWER_UP") && output.contains("state UP");
            while !up(self.on_host(host, "link show eth0")) {
                assert!(Instant::now() < until, "host {host} has no carrier");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn on_host(&self, host: u32, command: &str) -> String {
        ip(&format!("-n {} {command}", self.namespace(host))).unwrap()
    }

    fn on_switch(&self, command: &str) -> String {
        ip(&format!("-n {} {command}", self.switch())).unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With a namespace go its interfaces, and with one end of a cable the other.
        for namespace in &self.namespaces {
            if let Err(why) = ip(&format!("netns del {namespace}")) {
                eprintln!("a namespace is left: {why}");
            }
        }
    }
}

/// Removes the namespaces of test programs that were killed before they could.
fn remove_left_overs() {
    let Ok(list) = ip("netns list") else { return };
    for name in list.lines().filter_map(|line| line.split(' ').next()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(process) = process.and_then(|process| process.parse::<u32>().ok()) else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{process}")).exists() {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Runs `ip` with these words; gives what it printed.
fn ip(words: &str) -> Result<String, String> {
    run("ip", words)
}

/// Runs a command of iproute2.
fn run(command: &str, words: &str) -> Result<String, String> {
    let mut child = Command::new(command)
        .args(words.split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|cause| format!("{command} {words}: {cause}"))?;
    let until = Instant::now() + COMMAND;
    while child.try_wait().is_ok_and(|status| status.is_none()) {
        if Instant::now() >= until {
            let _ = child.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output: Output =
        child.wait_with_output().map_err(|cause| format!("{command} {words}: {cause}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command} {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
