"""The paper's experiment at laptop scale: pretrain, freeze, segment, compare."""
