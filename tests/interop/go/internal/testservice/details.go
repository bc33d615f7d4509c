package testservice

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// DetailsKey is the request metadata that asks for details on a failed call; its value becomes the
// reason in the first of them.
const DetailsKey = "x-status-details"

// Details are what a failed call carries when they were asked for: one message that everybody
// knows, and one whose type nobody knows and whose bytes are no message and no text.
func Details(reason string) ([]*anypb.Any, error) {
	info, err := anypb.New(&errdetails.ErrorInfo{Reason: reason, Domain: "interop.example"})
	if err != nil {
		return nil, err
	}
	opaque := &anypb.Any{TypeUrl: "type.googleapis.com/interop.Opaque", Value: []byte{0x00, 0xff, 0xfe, 0x80, 0x01}}
	return []*anypb.Any{info, opaque}, nil
}

// CheckStatus compares an error with the status that was asked for. A reason that is not empty
// asks for the details too.
func CheckStatus(err error, code codes.Code, message, reason string) error {
	got := status.Convert(err)
	if got.Code() != code || got.Message() != message {
		return fmt.Errorf("status is %v %q, not %v %q", got.Code(), got.Message(), code, message)
	}
	if reason == "" {
		return nil
	}
	want, err := Details(reason)
	if err != nil {
		return err
	}
	details := got.Proto().GetDetails()
	if len(details) != len(want) {
		return fmt.Errorf("status has %d details, not %d", len(details), len(want))
	}
	for i := range want {
		if !proto.Equal(details[i], want[i]) {
			return fmt.Errorf("detail %d is %v, not %v", i, details[i], want[i])
		}
	}
	return nil
}
