//! The subject's processes and their lineages.

use std::collections::HashMap;

/// One live process of a run.
#[derive(Debug, Clone)]
pub struct Process {
    /// Names from the leader down, such as `["renew.sh", "certbot", "deploy.sh"]`.
    pub lineage: Vec<String>,
    /// Which run of the experiment it belongs to, from 0.
    pub run: usize,
    /// Whether it is the run's top command.
    pub leader: bool,
    /// Whether it has started a program of its own (false between fork and exec).
    pub started: bool,
    /// Durable effects it has come to, failed ones included.
    pub effects: u32,
}

impl Process {
    /// The lineage as points and reports show it.
    pub fn name(&self) -> String {
        self.lineage.join(" > ")
    }
}

/// Every live process of an experiment, by the tracer's process id.
#[derive(Debug, Default)]
pub struct Table {
    live: HashMap<i32, Process>,
    /// Those that are gone: one can be killed before it is told of the child it made.
    gone: HashMap<i32, Process>,
}

impl Table {
    /// A run's top command was started.
    pub fn led(&mut self, pid: i32, run: usize) {
        let leader = Process { lineage: vec!["?".into()], run, leader: true, started: false, effects: 0 };
        self.live.insert(pid, leader);
    }

    /// `parent` forked `child`.
    pub fn forked(&mut self, parent: i32, child: i32) {
        let Some(parent) = self.live.get(&parent).or_else(|| self.gone.get(&parent)) else { return };
        let mut lineage = parent.lineage.clone();
        let name = lineage.last().map_or("?", String::as_str);
        // A subshell: the same program, one level down, until it starts another.
        let name = if name.starts_with('(') { name.to_owned() } else { format!("({name})") };
        lineage.push(name);
        let process = Process { lineage, run: parent.run, leader: false, started: false, effects: 0 };
        self.live.insert(child, process);
    }

    /// `pid` started a program.
    pub fn executed(&mut self, pid: i32, name: String) {
        if let Some(process) = self.live.get_mut(&pid) {
            if let Some(last) = process.lineage.last_mut() {
                *last = name;
            }
            process.started = true;
        }
    }

    /// `pid` is gone.
    pub fn ended(&mut self, pid: i32) -> Option<Process> {
        let process = self.live.remove(&pid)?;
        self.gone.insert(pid, process.clone());
        Some(process)
    }

    /// The process, if it is the subject's and alive.
    pub fn get(&self, pid: i32) -> Option<&Process> {
        self.live.get(&pid)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, pid: i32) -> Option<&mut Process> {
        self.live.get_mut(&pid)
    }

    /// Process ids of one run, those nearer to the leader first: whoever is killed in this order
    /// cannot see a child die and go on.
    pub fn of_run(&self, run: usize) -> Vec<i32> {
        let mut pids: Vec<(usize, i32)> =
            self.live.iter().filter(|(_, p)| p.run == run).map(|(pid, p)| (p.lineage.len(), *pid)).collect();
        pids.sort_unstable();
        pids.into_iter().map(|(_, pid)| pid).collect()
    }

    /// The top command of a run, while it lives.
    pub fn leader(&self, run: usize) -> Option<i32> {
        self.live.iter().find(|(_, p)| p.run == run && p.leader).map(|(pid, _)| *pid)
    }
}

/// What a person calls a program: the script, where an interpreter runs one.
pub fn program_name(path: &str, arguments: impl FnOnce() -> Vec<String>) -> String {
    let base = |p: &str| p.rsplit('/').next().unwrap_or(p).to_owned();
    let name = base(path);
    let interpreter =
        matches!(name.as_str(), "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "perl" | "ruby" | "node")
            || name.starts_with("python");
    if interpreter {
        for argument in arguments().iter().skip(1) {
            if argument == "-c" || argument == "-m" {
                break;
            }
            if !argument.starts_with('-') {
                if argument.contains('/') || argument.contains('.') {
                    return base(argument);
                }
                break;
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineages_follow_forks_and_execs() {
        let mut table = Table::default();
        table.led(10, 0);
        table.executed(10, "renew.sh".into());
        table.forked(10, 11);
        assert_eq!(table.get(11).unwrap().name(), "renew.sh > (renew.sh)");
        table.executed(11, "cp".into());
        assert_eq!(table.get(11).unwrap().name(), "renew.sh > cp");
        assert_eq!(table.of_run(0), [10, 11]);
        table.ended(10);
        assert_eq!((table.leader(0), table.of_run(0)), (None, vec![11]));
        table.forked(10, 12);
        assert_eq!(table.get(12).unwrap().name(), "renew.sh > (renew.sh)", "made as its maker was killed");
    }

    #[test]
    fn scripts_are_called_by_their_own_name() {
        let arguments = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(program_name("/usr/local/bin/renew.sh", Vec::new), "renew.sh");
        assert_eq!(program_name("/bin/bash", || arguments(&["bash", "-e", "/opt/renew.sh"])), "renew.sh");
        assert_eq!(program_name("/bin/sh", || arguments(&["sh", "-c", "/opt/renew.sh"])), "sh");
    }
}
