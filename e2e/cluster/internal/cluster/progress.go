package cluster

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A wait says how far it is this often.
const progressEvery = 5 * time.Second

// Failure says which part failed, what it wrote last, and what to do.
type Failure struct {
	Component string
	Cause     error
	Log       string
	LastLines []string
	Advice    string
}

func (f *Failure) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %v", f.Component, f.Cause)
	if len(f.LastLines) > 0 {
		fmt.Fprintf(&text, "\n  the last lines of %s:\n    %s", f.Log, strings.Join(f.LastLines, "\n    "))
	}
	if f.Advice != "" {
		fmt.Fprintf(&text, "\n  what to do: %s", f.Advice)
	}
	return text.String()
}

func (f *Failure) Unwrap() error { return f.Cause }

// progress prints the steps of an `up` or `down`.
type progress struct {
	out     io.Writer
	total   int
	current int
}

// step runs one step, with a line before that says how long it usually takes and one after.
func (p *progress) step(what, usually string, do func() error) error {
	p.current++
	started := time.Now()
	fmt.Fprintf(p.out, "[%d/%d] %s (usually %s)\n", p.current, p.total, what, usually)
	if err := do(); err != nil {
		return err
	}
	if took := time.Since(started); took >= time.Second {
		fmt.Fprintf(p.out, "      done in %.1f s\n", took.Seconds())
	}
	return nil
}

// note adds a line to the current step.
func (p *progress) note(format string, arguments ...any) {
	fmt.Fprintf(p.out, "      "+format+"\n", arguments...)
}

// A log's tail is looked for in its last bytes; lines of Kubernetes are long.
const (
	tailLines     = 12
	tailBytes     = 32 << 10
	tailLineWidth = 400
)

// tail gives the last lines of a log, none where it cannot be read.
func tail(path string) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	content := make([]byte, min(info.Size(), tailBytes))
	if _, err := file.ReadAt(content, info.Size()-int64(len(content))); err != nil {
		return nil
	}
	return lastLines(string(content))
}

func lastLines(content string) []string {
	content = strings.TrimSpace(content)
	if content == "" {
		return nil
	}
	lines := strings.Split(content, "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for index, line := range lines {
		if len(line) > tailLineWidth {
			lines[index] = line[:tailLineWidth] + "…"
		}
	}
	return lines
}
