// Upload sends 64 MiB in one call, to a server that may not read them.
package main

import (
	"context"
	"errors"
	"flag"

	"google.golang.org/grpc/interop/grpc_testing"

	"interop.example/peers/internal/peer"
)

const (
	size  = 1 << 20
	count = 64
)

func main() {
	addr := flag.String("server", "", "the address of the server or gateway")
	peer.Check(func(ctx context.Context) error {
		if *addr == "" {
			return errors.New("-server is required")
		}
		conn, err := peer.Dial(*addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		stream, err := grpc_testing.NewTestServiceClient(conn).StreamingInputCall(ctx)
		if err != nil {
			return err
		}
		req := &grpc_testing.StreamingInputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, size)}}
		for range count {
			// The end of the call says why it is over.
			if stream.Send(req) != nil {
				break
			}
		}
		_, err = stream.CloseAndRecv()
		return err
	})
}
