package compare

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// Machine is where and with what was measured.
type Machine struct {
	CPU      string
	Cores    int
	Kernel   string
	Go, Node string
	Load     string            // the load average at the start
	Commit   string            `json:",omitempty"`
	Modules  map[string]string // the versions of the candidates and of what they use
}

func (m Machine) String() string {
	text := fmt.Sprintf("%s, %d cores, Linux %s, %s, Node %s, load average %s at the start", m.CPU, m.Cores, m.Kernel, m.Go, m.Node, m.Load)
	if m.Commit != "" {
		text += ", commit " + m.Commit
	}
	return text
}

func machine(ctx context.Context) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "CPU unknown", Modules: make(map[string]string)}
	info, _ := os.ReadFile("/proc/cpuinfo")
	if _, rest, ok := strings.Cut(string(info), "model name"); ok {
		name, _, _ := strings.Cut(rest, "\n")
		m.CPU = strings.TrimSpace(strings.TrimLeft(name, "\t: "))
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	load, _ := os.ReadFile("/proc/loadavg")
	m.Load, _, _ = strings.Cut(string(load), " ")
	m.Node = output(ctx, "node", "--version")
	if m.Node == "" {
		m.Node = "not installed"
	}
	m.Commit = output(ctx, "git", "describe", "--always", "--dirty")
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range build.Deps {
			m.Modules[dep.Path] = dep.Version
		}
	}
	return m
}

// output returns what a command writes, or nothing if it cannot run.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
