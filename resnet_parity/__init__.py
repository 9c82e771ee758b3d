"""Prove that a ResNet in PyTorch and the same ResNet in Keras are the same function.

The public functions, each in the module to import it from:

    resnet_parity.verify                verify             run the checks on both implementations
    resnet_parity.matrix                run_matrix         run every engine on every check
    resnet_parity.lockstep              lockstep           train both and compare every step
    resnet_parity.diagnose.diagnosis    diagnose           find where two models differ, and why
    resnet_parity.vectors               make_vectors, verify_vectors       conformance vectors
    resnet_parity.weights.files         read_weights, write_weights        weights as files
    resnet_parity.onnx_io.export        export, export_verified            write ONNX graphs
    resnet_parity.onnx_io.imports       import_verified                    read ONNX graphs
    resnet_parity.onnx_io.compare       compare_models                     compare ONNX graphs
    resnet_parity.checks                CHECKS, run_check  the registry of checks
    resnet_parity.tolerances            TOLERANCES, limit  every tolerance and its reason
    resnet_parity.errors                ParityError        the base of all errors

The command line is `resnet_parity.cli`, or `python -m resnet_parity`. Importing this package loads
no framework.
"""
