// Package calls makes calls to the interop test service and checks every byte that comes back.
package calls

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"

	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"interop.example/peers/internal/testservice"
)

const (
	initialKey  = "x-grpc-test-echo-initial"
	trailingKey = "x-grpc-test-echo-trailing-bin"
)

// Service is the service under test and what it is known to offer beyond the official one.
type Service struct {
	Client grpc_testing.TestServiceClient
	// Echo asks for the request's payload in the responses; without it they hold zeros.
	Echo bool
	// Details asks for details on failed calls; without it the code and the message are checked.
	Details bool
	// ASCII keeps every -bin value within ASCII, as peers need that read the values as Latin-1.
	ASCII bool
}

// call is one call: its seed makes its payloads and its metadata different from all others.
type call struct {
	service Service
	seed    int
	size    int
}

func (c call) payload() *grpc_testing.Payload {
	body := make([]byte, c.size)
	rand.New(rand.NewSource(int64(c.seed))).Read(body)
	return &grpc_testing.Payload{Body: body}
}

func (c call) initial() string { return fmt.Sprintf("initial of call %d", c.seed) }

// trailing is text whose UTF-8 bytes are not its Latin-1 bytes, so that a mistaken dialect shows.
func (c call) trailing() string {
	if c.service.ASCII {
		return fmt.Sprintf("trailing of call %d", c.seed)
	}
	return fmt.Sprintf("trailing ☂ é of call %d", c.seed)
}

func (c call) context(ctx context.Context) context.Context {
	pairs := []string{initialKey, c.initial(), trailingKey, c.trailing()}
	if c.service.Echo {
		pairs = append(pairs, testservice.EchoKey, "on")
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// check compares the payload of a response with the one of its request.
func (c call) check(sent, got *grpc_testing.Payload) error {
	want := sent.GetBody()
	if !c.service.Echo {
		want = make([]byte, c.size)
	}
	if !bytes.Equal(got.GetBody(), want) {
		return fmt.Errorf("response of %d bytes is not the %d bytes that are due", len(got.GetBody()), len(want))
	}
	return nil
}

func (c call) checkMetadata(header, trailer metadata.MD) error {
	if err := CheckOne(header, initialKey, c.initial()); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if err := CheckOne(trailer, trailingKey, c.trailing()); err != nil {
		return fmt.Errorf("trailers: %w", err)
	}
	return nil
}

// CheckOne checks that metadata holds exactly one value of a key.
func CheckOne(md metadata.MD, key, want string) error {
	if got := md.Get(key); len(got) != 1 || got[0] != want {
		return fmt.Errorf("%s is %q, not one %q", key, got, want)
	}
	return nil
}
