package docker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	dc "github.com/ory/dockertest/v3/docker"
)

// runLabel is on every container and network; its value is the run that made it. Volumes are anonymous and go with their container.
const runLabel = "org.lockserver.conformance.run"

// newRun names a run: by its process, so that others can tell whether it still goes on, and a number of its own.
func newRun() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%d.%08x.%s", os.Getpid(), rand.Uint32(), host)
}

// abandoned says whether nobody uses what a run made any more: its process on this machine is gone, or, on another machine, no
// run lasts that long.
func abandoned(run string, made time.Time) bool {
	own := strings.SplitN(newRun(), ".", 3)
	its := strings.SplitN(run, ".", 3)
	if len(its) != 3 || its[2] != own[2] {
		return time.Since(made) > 2*time.Hour
	}
	pid, err := strconv.Atoi(its[0])
	return err != nil || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// sweep removes the containers, and then the networks, of the runs that are chosen.
func (p *Place) sweep(chosen func(run string, made time.Time) bool) error {
	var errs []error
	containers, err := p.pool.Client.ListContainers(dc.ListContainersOptions{All: true, Filters: map[string][]string{"label": {runLabel}}})
	if err != nil {
		return fmt.Errorf("list the suite's containers: %w", err)
	}
	for _, c := range containers {
		if chosen(c.Labels[runLabel], time.Unix(c.Created, 0)) {
			errs = append(errs, p.remove(c.ID))
		}
	}
	networks, err := p.pool.Client.FilteredListNetworks(dc.NetworkFilterOpts{"label": {runLabel: true}})
	if err != nil {
		return fmt.Errorf("list the suite's networks: %w", err)
	}
	for _, n := range networks {
		// The client does not tell a network's age: those of other machines stay.
		if chosen(n.Labels[runLabel], time.Now()) {
			var gone *dc.NoSuchNetwork
			if err := p.pool.Client.RemoveNetwork(n.ID); err != nil && !errors.As(err, &gone) {
				errs = append(errs, fmt.Errorf("remove network %s: %w", n.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (p *Place) remove(id string) error {
	err := p.pool.Client.RemoveContainer(dc.RemoveContainerOptions{ID: id, Force: true, RemoveVolumes: true})
	var refused *dc.Error
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		err = p.awaitRemoval(id, refused) // by another run, which found it abandoned as well
	}
	var gone *dc.NoSuchContainer
	if err != nil && !errors.As(err, &gone) {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// awaitRemoval waits until a container is gone that is being removed.
func (p *Place) awaitRemoval(id string, otherwise error) error {
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := p.pool.Client.InspectContainer(id); err != nil {
			return err
		}
	}
	return otherwise
}
