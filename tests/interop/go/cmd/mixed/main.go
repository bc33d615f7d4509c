// Mixed makes concurrent calls of all kinds over one tunnel, of which one is cancelled and one
// fails, and sends messages that are larger than a window both ways.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"google.golang.org/grpc/interop/grpc_testing"

	"interop.example/peers/internal/calls"
	"interop.example/peers/internal/peer"
)

func main() {
	addr := flag.String("server", "", "the address of the server")
	kind := flag.String("tunnel", "forward", "forward, or direct for no tunnel")
	noFlowControl := flag.Bool("no-flow-control", false, "accept revision zero only")
	count := flag.Int("calls", 50, "how many calls run at once")
	echo := flag.Bool("echo", false, "the service echoes payloads on request")
	details := flag.Bool("details", false, "the service gives status details on request")
	ascii := flag.Bool("ascii", false, "send no -bin value beyond ASCII")
	peer.Check(func(ctx context.Context) error {
		if *addr == "" {
			return errors.New("-server is required")
		}
		channel, end, err := peer.Open(ctx, *addr, *kind, *noFlowControl)
		if err != nil {
			return err
		}
		defer end()
		service := calls.Service{Client: grpc_testing.NewTestServiceClient(channel), Echo: *echo, Details: *details, ASCII: *ascii}
		if err := service.Large(ctx); err != nil {
			return err
		}
		fmt.Println("ok large")
		if err := service.Mixed(ctx, *count); err != nil {
			return err
		}
		fmt.Println("ok mixed")
		return nil
	})
}
