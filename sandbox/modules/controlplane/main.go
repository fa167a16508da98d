// Command controlplane is a whole Kubernetes control plane in one binary: the
// first argument names the program to be (etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubectl), the rest are its flags.
//
// One binary, because the programs share nearly all of their code: linking them
// together costs one build and 134 MB instead of five builds and 400 MB. They
// still run as separate processes, so that each can be stopped or killed alone.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics on /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric on /metrics
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 cmd.NewDefaultKubectlCommand,
}

func main() {
	if len(os.Args) < 2 {
		fail("a program name is needed as first argument")
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := programs[name]
	if !known {
		fail(fmt.Sprintf("unknown program %q", name))
	}
	os.Exit(cli.Run(command()))
}

func fail(reason string) {
	fmt.Fprintf(os.Stderr, "controlplane: %s; one of etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl\n", reason)
	os.Exit(2)
}
