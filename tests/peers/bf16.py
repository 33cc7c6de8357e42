#!/usr/bin/python3
"""How far bf16 moves a token's log-probability from f32: the toolkit beside
PyTorch's autocast, on the same model and tokens.

  bf16.py PRECISION_NUMBERS MODEL_DIR [TOKENS]

PRECISION_NUMBERS is the program built by `ninja precision_numbers`, MODEL_DIR a
Hugging Face directory of a Llama in one f32 safetensors file with tied
embeddings. Prints a line for each; fails if the toolkit's mean or worst
difference is above PyTorch's. Needs python3-torch.
"""
import json
import math
import os
import struct
import subprocess
import sys

import torch
import torch.nn.functional as F


def weights(path):
    data = open(path, 'rb').read()
    length = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop('__metadata__', None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry['data_offsets'])
        tensors[name] = torch.frombuffer(
            bytearray(data[begin:end]), dtype=torch.float32).reshape(entry['shape'])
    return tensors


class Llama:
    def __init__(self, directory):
        self.c = json.load(open(os.path.join(directory, 'config.json')))
        self.w = weights(os.path.join(directory, 'model.safetensors'))

    def norm(self, x, name):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.c['rms_norm_eps'])
        return self.w[name] * y.to(x.dtype)

    def linear(self, x, name):
        return F.linear(x, self.w[name + '.weight'])

    def rotate(self, x, angles):
        half = x.shape[-1] // 2
        turned = torch.cat((-x[..., half:], x[..., :half]), -1)
        return x * angles.cos() + turned * angles.sin()

    def heads(self, x, count):
        return x.view(1, x.shape[1], count, -1).transpose(1, 2)

    def attention(self, y, prefix, angles):
        heads, kv = self.c['num_attention_heads'], self.c['num_key_value_heads']
        q, k, v = (self.heads(self.linear(y, prefix + n), h)
                   for n, h in (('q_proj', heads), ('k_proj', kv), ('v_proj', kv)))
        q, k = self.rotate(q, angles), self.rotate(k, angles)
        k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
        rows = y.shape[1]
        mask = torch.full((rows, rows), -1e9).triu(1)
        scores = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask).float()
        mixed = torch.softmax(scores, -1).to(v.dtype) @ v
        return self.linear(mixed.transpose(1, 2).reshape(1, rows, -1), prefix + 'o_proj')

    def log_probs(self, ids, bf16):
        """Of ids[1:], each after those before it."""
        with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16, enabled=bf16):
            x = self.w['model.embed_tokens.weight'][torch.tensor(ids[:-1])][None]
            dim = self.c['hidden_size'] // self.c['num_attention_heads']
            angles = (torch.arange(len(ids) - 1)[:, None] /
                      self.c['rope_theta'] ** (torch.arange(0, dim, 2) / dim))
            angles = torch.cat((angles, angles), -1)
            for layer in range(self.c['num_hidden_layers']):
                p = 'model.layers.%d.' % layer
                x = x + self.attention(self.norm(x, p + 'input_layernorm.weight'),
                                       p + 'self_attn.', angles)
                y = self.norm(x, p + 'post_attention_layernorm.weight')
                y = F.silu(self.linear(y, p + 'mlp.gate_proj')) * self.linear(y, p + 'mlp.up_proj')
                x = x + self.linear(y, p + 'mlp.down_proj')
            logits = F.linear(self.norm(x, 'model.norm.weight'),
                              self.w['model.embed_tokens.weight'])
        table = logits[0].float().log_softmax(-1)
        return table[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


def report(name, differences):
    mean, worst = differences.mean().item(), differences.max().item()
    print('%-10s |bf16 - f32| of %d log-probs: mean %.5f, worst %.4f, %.1f %% within 0.02' % (
        name, len(differences), mean, worst, 100 * (differences < 0.02).float().mean()))
    return mean, worst


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    program, directory = sys.argv[1:3]
    if not os.access(program, os.X_OK):
        sys.exit('%s is not there: ninja precision_numbers' % program)
    said = json.loads(subprocess.check_output(
        [program, directory, sys.argv[3] if len(sys.argv) == 4 else '200']))
    ours = torch.tensor(said['f32']), torch.tensor(said['bf16'])
    model = Llama(directory)
    theirs = [torch.cat([model.log_probs([1] + ids, bf16) for ids in said['replies']])
              for bf16 in (False, True)]
    agree = (ours[0] - theirs[0]).abs().max().item()
    print('f32, toolkit and PyTorch: worst difference %.2g' % agree)
    mean, worst = report('toolkit', (ours[0] - ours[1]).abs())
    peer_mean, peer_worst = report('PyTorch', (theirs[0] - theirs[1]).abs())
    if agree > 1e-3 or mean > peer_mean or worst > peer_worst:
        sys.exit('the toolkit is not as near as PyTorch')


main()
