//! Machines and the cables between them: each machine is a network namespace, and so is the switch, whose bridges
//! the cables (veth pairs) are plugged into. None of them is joined to the network of the machine underneath.

use std::process::Command;

/// The namespace with all bridges in it.
const SWITCH: &str = "switch";
/// What every machine but a router calls its end of a cable.
const INTERFACE: &str = "eth0";

/// All machines of a laboratory. Dropping it takes them away.
pub struct Cables {
    prefix: String,
    namespaces: Vec<String>,
}

impl Cables {
    /// No machines yet, and a switch without bridges. The names of all namespaces begin with this.
    pub fn new(prefix: &str) -> Self {
        let mut cables = Self { prefix: prefix.to_owned(), namespaces: Vec::new() };
        cables.add_machine(SWITCH);
        cables
    }

    /// The namespace of a machine.
    pub fn namespace(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    /// A machine that can speak with itself alone so far.
    pub fn add_machine(&mut self, machine: &str) {
        let namespace = self.namespace(machine);
        ip(&["netns", "add", &namespace]);
        self.namespaces.push(namespace);
        self.on(machine, &["link", "set", "lo", "up"]);
    }

    /// A bridge: what is plugged into it is one network.
    pub fn add_bridge(&self, bridge: &str) {
        self.on(SWITCH, &["link", "add", "name", bridge, "type", "bridge"]);
        self.on(SWITCH, &["link", "set", bridge, "up"]);
    }

    /// Gives a machine an interface and a cable from it to a bridge. The address is `1.2.3.4/24`, or
    /// `1.2.3.4/24 broadcast +` where the interface is to know its broadcast address by name.
    pub fn plug(&self, machine: &str, interface: &str, address: &str, bridge: &str) {
        let (here, there, port) = (self.namespace(machine), self.namespace(SWITCH), port(machine, interface));
        let pair = [
            "link", "add", &port, "netns", &there, "type", "veth", "peer", "name", interface, "netns", &here,
        ];
        ip(&pair);
        self.on(SWITCH, &["link", "set", &port, "master", bridge, "up"]);
        let words: Vec<_> = address.split(' ').collect();
        self.on(machine, &[&["address", "add", "dev", interface], words.as_slice()].concat());
        self.on(machine, &["link", "set", interface, "up"]);
    }

    /// Gives a machine its one interface. Its packets for other networks go to 254 of its own, router or not.
    pub fn plug_host(&self, machine: &str, address: &str, bridge: &str) {
        self.plug(machine, INTERFACE, address, bridge);
        let (network, _) = address.rsplit_once('.').expect("it is an address of IPv4");
        self.on(machine, &["route", "add", "default", "via", &format!("{network}.254")]);
    }

    /// Takes a machine's interface down, its address away, and then the interface itself.
    pub fn unplug(&self, machine: &str) {
        self.on(machine, &["link", "set", INTERFACE, "down"]);
        self.on(machine, &["address", "flush", "dev", INTERFACE]);
        self.on(machine, &["link", "delete", INTERFACE]);
    }

    /// Plugs a machine's cable into another bridge. The machine itself notices nothing.
    pub fn move_to(&self, machine: &str, bridge: &str) {
        self.on(SWITCH, &["link", "set", &port(machine, INTERFACE), "master", bridge]);
    }

    /// Makes a machine a router: it passes on what is for others, though never a broadcast.
    pub fn forward(&self, machine: &str) {
        let turn_on = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        let namespace = self.namespace(machine);
        run(Command::new("ip").args(["netns", "exec", &namespace, "sh", "-c", turn_on]))
            .expect("a router forwards");
    }

    /// Spoils a machine's line: what it sends is late, and some of it is lost. Says how; where the system cannot do
    /// that, the line is narrow instead; `None` where it can do neither.
    pub fn spoil(&self, machine: &str) -> Option<&'static str> {
        let namespace = self.namespace(machine);
        let kinds = [
            ("netem delay 40ms 10ms loss 10%", "40 ms late, and a tenth of it lost"),
            (
                "tbf rate 256kbit burst 4kb latency 40ms",
                "256 kbit/s, and lost beyond (this kernel has no netem)",
            ),
        ];
        kinds.into_iter().find_map(|(kind, words)| {
            let mut command = Command::new("tc");
            command
                .args(["-netns", &namespace, "qdisc", "add", "dev", INTERFACE, "root"])
                .args(kind.split(' '));
            run(&mut command).is_ok().then_some(words)
        })
    }

    fn on(&self, machine: &str, arguments: &[&str]) {
        ip(&[&["-netns", &self.namespace(machine)], arguments].concat());
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // scripts/lab looks for what is left.
            let _ = run(Command::new("ip").args(["netns", "delete", namespace]));
        }
    }
}

/// The switch's end of a machine's cable.
fn port(machine: &str, interface: &str) -> String {
    format!("{machine}-{interface}")
}

fn ip(arguments: &[&str]) {
    if let Err(said) = run(Command::new("ip").args(arguments)) {
        panic!("ip {}: {said}", arguments.join(" "));
    }
}

/// Runs a command to its end; gives what it said if it failed.
fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
