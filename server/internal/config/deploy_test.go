package config_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/lockserver/lockserver/server/internal/config"
)

// The settings in the files that people deploy with are those that the server knows, and it accepts them.

func deployed(t *testing.T, what string, env map[string]string) *config.Options {
	t.Helper()
	asked := map[string]bool{}
	o, err := config.Load(config.Source{Dir: t.TempDir(), NeedsSecret: true, LookupEnv: func(name string) (string, bool) {
		asked[name] = true
		v, found := env[name]
		return v, found
	}})
	require.NoError(t, err, what)
	for name := range env {
		require.True(t, asked[name] || !strings.HasPrefix(name, "LOCKSERVER_"), "%s: there is no setting %s", what, name)
	}
	require.Empty(t, o.Warnings, what)
	require.Equal(t, "etcd", o.Store.Kind, what)
	require.Len(t, o.Etcd.Endpoints, 3, what)
	return o
}

func TestClusterOfCompose(t *testing.T) {
	content, err := os.ReadFile("../../../docker-compose.cluster.yml")
	require.NoError(t, err)
	var file struct {
		Services map[string]struct{ Environment map[string]string }
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	servers := 0
	for name, service := range file.Services {
		env := service.Environment
		if env["LOCKSERVER_STORE"] == "" {
			continue
		}
		servers++
		require.Contains(t, env["LOCKSERVER_SECRET"], "${LOCKSERVER_SECRET:?")
		env["LOCKSERVER_SECRET"] = good
		require.Equal(t, "http://"+name+":8080", deployed(t, name, env).Etcd.Advertise)
	}
	require.Equal(t, 3, servers)
}

func TestClusterOfKubernetes(t *testing.T) {
	content, err := os.ReadFile("../../../kubernetes.yaml")
	require.NoError(t, err)
	type labels map[string]string
	type port struct {
		Name          string
		ContainerPort int    `yaml:"containerPort"`
		TargetPort    string `yaml:"targetPort"`
	}
	type probe struct {
		HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	}
	var deployment struct {
		Kind string
		Spec struct {
			Template struct {
				Metadata struct{ Labels labels }
				Spec     struct {
					EnableServiceLinks *bool `yaml:"enableServiceLinks"`
					Containers         []struct {
						Ports []port
						Env   []struct {
							Name, Value string
							ValueFrom   struct {
								SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
							} `yaml:"valueFrom"`
						}
						ReadinessProbe probe `yaml:"readinessProbe"`
						LivenessProbe  probe `yaml:"livenessProbe"`
					}
				}
			}
		}
	}
	var service struct {
		Kind string
		Spec struct {
			Selector labels
			Ports    []port
		}
	}
	documents := yaml.NewDecoder(bytes.NewReader(content))
	require.NoError(t, documents.Decode(&deployment))
	require.NoError(t, documents.Decode(&service))
	require.Equal(t, []string{"Deployment", "Service"}, []string{deployment.Kind, service.Kind})

	pod := deployment.Spec.Template.Spec
	require.False(t, *pod.EnableServiceLinks, "Kubernetes would set LOCKSERVER_PORT to a URL")
	require.Len(t, pod.Containers, 1)
	server := pod.Containers[0]
	env := map[string]string{}
	for _, e := range server.Env {
		env[e.Name] = strings.ReplaceAll(e.Value, "$(POD_IP)", "10.0.0.1")
		if e.ValueFrom.SecretKeyRef.Name != "" {
			require.Contains(t, string(content), "kubectl create secret generic "+e.ValueFrom.SecretKeyRef.Name+" --from-literal="+e.ValueFrom.SecretKeyRef.Key+"=")
			env[e.Name] = good
		}
	}
	o := deployed(t, "kubernetes.yaml", env)
	require.Equal(t, "http://10.0.0.1:8080", o.Etcd.Advertise)
	require.Equal(t, o.Port, server.Ports[0].ContainerPort)
	require.Equal(t, "/readyz", server.ReadinessProbe.HTTPGet.Path)
	require.Equal(t, "/healthz", server.LivenessProbe.HTTPGet.Path)
	for _, name := range []string{server.ReadinessProbe.HTTPGet.Port, server.LivenessProbe.HTTPGet.Port, service.Spec.Ports[0].TargetPort} {
		require.Equal(t, server.Ports[0].Name, name)
	}
	require.Equal(t, deployment.Spec.Template.Metadata.Labels, service.Spec.Selector)
}
