package calls

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"interop.example/peers/internal/testservice"
)

// failure is a message that shows when it was cut, or escaped and not unescaped.
const failure = "not in this phase: 100% ☂\t\"quoted\""

// Fail makes a call that must fail with a code, a message and, if the service offers them, details;
// the trailers must come with them.
func (s Service) Fail(ctx context.Context, seed int) error {
	c := call{s, seed, 0}
	ctx = c.context(ctx)
	reason := ""
	if s.Details {
		reason = fmt.Sprintf("REASON_%d", seed)
		ctx = metadata.AppendToOutgoingContext(ctx, testservice.DetailsKey, reason)
	}
	req := &grpc_testing.SimpleRequest{
		ResponseStatus: &grpc_testing.EchoStatus{Code: int32(codes.FailedPrecondition), Message: failure},
	}
	var trailer metadata.MD
	_, err := s.Client.UnaryCall(ctx, req, grpc.Trailer(&trailer))
	return named("details",
		testservice.CheckStatus(err, codes.FailedPrecondition, failure, reason),
		CheckOne(trailer, trailingKey, c.trailing()))
}

// Cancel begins a bidirectional call, calls pause after its first response, cancels it, and checks
// that it ends so.
func (s Service) Cancel(ctx context.Context, seed, size int, pause func()) error {
	c := call{s, seed, size}
	ctx, cancel := context.WithCancel(c.context(ctx))
	defer cancel()
	stream, err := s.Client.FullDuplexCall(ctx)
	if err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	if err := c.pingPong(stream); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	pause()
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		return fmt.Errorf("cancel: the call ended with %v", err)
	}
	return nil
}
